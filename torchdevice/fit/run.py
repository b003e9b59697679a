"""One dry run, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torchdevice.fit.record import Record
from torchdevice.program import Program


@dataclass(frozen=True)
class Devices:
    """What the program is to find."""

    profile: str
    count: int = 1
    memory: str | None = None  #: as TORCHDEVICE_MEMORY


class LostError(RuntimeError):
    """The process ended without a record."""


def run(program: Program, devices: Devices) -> Record:
    """Run it; what it prints is printed.

    Raises:
        LostError: the process was killed.
    """
    settings = {
        "TORCHDEVICE": "1",
        "TORCHDEVICE_BACKEND": "dry",
        "TORCHDEVICE_PROFILE": devices.profile,
        "TORCHDEVICE_COUNT": str(devices.count),
        "TORCHDEVICE_MEMORY": devices.memory or "",  # empty is as if unset
    }
    environment = {**os.environ, **settings}
    with tempfile.TemporaryDirectory(prefix="torchdevice-fit-") as folder:
        target = Path(folder) / "record.json"
        command = [sys.executable, "-m", "torchdevice.fit.child", str(target), *program.words]
        child = subprocess.Popen(command, env=environment)
        status = _wait(child)
        if target.exists():
            return Record.read(target)
    if status < 0:
        raise LostError(f"the program was ended by {signal.Signals(-status).name} and left no record")
    raise LostError(f"the program left no record; it ended with status {status}")


def _wait(child: subprocess.Popen[bytes]) -> int:
    """The child gets Ctrl-C itself, and then has its record to write."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue
