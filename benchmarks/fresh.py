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


def own_peak() -> int:
    """KiB that this process had resident at most; getrusage's figure begins with that of the parent (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])
