"""One dry run, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torchdevice.fit.child import CURVES
from torchdevice.fit.record import Record
from torchdevice.program import Program


@dataclass(frozen=True)
class Devices:
    """What the program is to find."""

    profile: str
    count: int = 1  #: of a host
    ranks: int | None = None  #: processes that torchrun would start, each with a device
    memory: str | None = None  #: as TORCHDEVICE_MEMORY


def _torchrun(ranks: int, devices: int) -> dict[str, str]:
    """What torchrun sets for rank 0 of so many, with so many on a host."""
    return {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "GROUP_RANK": "0",
        "ROLE_RANK": "0",
        "ROLE_NAME": "default",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(min(ranks, devices)),
        "ROLE_WORLD_SIZE": str(ranks),
        "GROUP_WORLD_SIZE": str(-(-ranks // devices)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
    }


class LostError(RuntimeError):
    """The process ended without a record."""

    def __init__(self, status: int) -> None:
        how = f"it was ended by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
        super().__init__(f"the program left no record; {how}")
        #: As a shell has it; a program that ends well leaves a record.
        self.status = 128 - status if status < 0 else status or 1


def run(program: Program, devices: Devices, output: int | None = None, *, curves: bool = False) -> Record:
    """Run it; what it prints is printed, or goes to that file descriptor. `curves`: with memory over time.

    Raises:
        LostError: the process was killed, or became another program.
    """
    settings = {
        "TORCHDEVICE": "1",
        "TORCHDEVICE_BACKEND": "dry",
        "TORCHDEVICE_PROFILE": devices.profile,
        "TORCHDEVICE_COUNT": str(devices.count),
        "TORCHDEVICE_MEMORY": devices.memory or "",  # empty is as if unset
    }
    environment = {**os.environ, **settings}
    if devices.ranks is not None:
        environment |= _torchrun(devices.ranks, devices.count)
    with tempfile.TemporaryDirectory(prefix="torchdevice-fit-") as folder:
        target = Path(folder) / "record.json"
        wanted = CURVES if curves else "no " + CURVES
        command = [sys.executable, "-m", "torchdevice.fit.child", str(target), wanted, *program.words]
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        status = _wait(child)
        if target.exists():
            return Record.read(target)
    raise LostError(status)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """The child gets Ctrl-C itself, and SIGTERM from here; then it has its record to write."""
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue
    finally:
        signal.signal(signal.SIGTERM, before)
