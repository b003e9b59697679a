"""Fresh processes: for what can only be measured once in one, or what would disturb the others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def run_fresh(code: str, **environment: str) -> str:
    """What an interpreter of its own prints."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, check=True, capture_output=True, text=True
    ).stdout


class FreshProcess:
    """An interpreter of its own that answers each line it is sent by one line."""

    def __init__(self, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(question, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()


def own_peak() -> int:
    """KiB that this process had resident at most; getrusage's figure begins with that of the parent (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])
