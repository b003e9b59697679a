"""One process with its children under limits: the seconds of a test and of all, the memory, what it said."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: How often it is looked at, and how often its memory is added up.
_LOOK, _WEIGH = 0.1, 1.0
#: What a process that was asked to end may take for it.
_GRACE = 2.0


@dataclass(frozen=True)
class Ended:
    """How it ended."""

    #: "exit", "timed out", "out of memory", or "stopped" where the run is being ended.
    how: str
    status: int
    #: The most resident memory of it and its children together, in bytes; what they share is counted for each.
    peak: int

    def __str__(self) -> str:
        if self.how != "exit":
            return self.how
        if self.status < 0:
            with contextlib.suppress(ValueError):
                return f"the process ended with {signal.Signals(-self.status).name}"
        return f"the process ended with status {self.status}"


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    memory: int,
    is_late: Callable[[], bool],
    is_stopped: Callable[[], bool],
) -> Ended:
    """Run a command to its end, or to the first limit; what it says is added to the log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    peak, weighed, how = 0, 0.0, "exit"
    try:
        while process.poll() is None:
            time.sleep(_LOOK)
            if time.monotonic() - weighed >= _WEIGH:
                weighed = time.monotonic()
                peak = max(peak, resident(process.pid))
            if peak > memory:
                how = "out of memory"
            elif is_late():
                how = "timed out"
            elif is_stopped():
                how = "stopped"
            if how != "exit":
                break
    finally:
        status = _end(process)
    return Ended(how, status, peak)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Its whole session: what a test left running would go on for ever."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_GRACE)
    return process.wait()


def resident(leader: int) -> int:
    """Bytes of a session's processes."""
    if sys.platform == "linux":
        return sum(_resident_on_linux(leader))
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,rss="], capture_output=True, text=True, check=False).stdout
    rows = (line.split() for line in listed.splitlines())
    return sum(int(size) * 1024 for group, size in rows if int(group) == leader)


def _resident_on_linux(leader: int) -> list[int]:
    sizes = []
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError, IndexError):
            # After the name, which may have spaces: state, parent, group, session.
            fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                sizes.append(int(Path(entry.path, "statm").read_text().split()[1]) * page)
    return sizes
