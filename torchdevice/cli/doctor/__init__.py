"""`torchdevice doctor`: what this installation is and, with --full, whether each claim holds here.

Prints one block of text to paste into a report. Each claim is checked in a process of its own, so that one that
crashes or hangs is a line in the block.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass

import torchdevice
from torchdevice.cli.info import describe

EPILOG = """\
examples:
  torchdevice doctor
  torchdevice doctor --full

exit status: 0 every claim that was checked holds, 1 one does not
"""

#: A claim that takes longer hangs.
SECONDS = 300


@dataclass(frozen=True)
class Finding:
    """What came of one claim."""

    claim: str
    result: str  #: pass, FAIL or "-" where it is about another backend
    detail: str
    seconds: float = 0.0

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.result:<5} {self.claim}{detail}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="check every claim on this machine, for minutes")
    parser.set_defaults(call=lambda arguments: doctor(arguments.full))


def doctor(full: bool) -> int:
    """Print the block; 0 if nothing failed."""
    print("```")
    print(machine())
    print(describe(), flush=True)
    failures = check_claims() if full else 0
    print("```")
    return 1 if failures else 0


def machine() -> str:
    system = f"macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else platform.platform()
    return (
        f"torchdevice-ext {torchdevice.__version__}, Python {platform.python_version()}\n"
        f"machine         {platform.machine()}, {system}"
    )


def check_claims() -> int:
    """Check one after the other, printing each; returns how many failed."""
    if not torchdevice.status().active:
        print("FAIL  torchdevice is active")
        return 1
    from torchdevice import _C  # this and the claims load only where torch is imported
    from torchdevice.cli.doctor.claims import CLAIMS

    backend = _C.native_backend_name()
    findings = []
    for claim in CLAIMS.values():
        if claim.applies():
            findings.append(_check(claim.name, claim.environment))
        else:
            findings.append(Finding(claim.name, "-", f"not over {backend}"))
        print(findings[-1], flush=True)
    checked = [finding for finding in findings if finding.result != "-"]
    failures = sum(finding.result == "FAIL" for finding in checked)
    seconds = sum(finding.seconds for finding in checked)
    print(f"{len(checked) - failures} of {len(checked)} claims hold over {backend} ({seconds:.0f} s)")
    return failures


def _check(name: str, environment: dict[str, str]) -> Finding:
    start = time.monotonic()
    try:
        process = subprocess.run(
            [sys.executable, "-m", "torchdevice.cli.doctor", name],
            env={**os.environ, **environment}, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding(name, "FAIL", f"no answer within {SECONDS} s", SECONDS)
    seconds = time.monotonic() - start
    if process.returncode == 0:
        return Finding(name, "pass", process.stdout.strip(), seconds)
    if process.returncode < 0:
        return Finding(name, "FAIL", f"died of signal {-process.returncode}\n{process.stderr.strip()}", seconds)
    return Finding(name, "FAIL", process.stdout.strip() or process.stderr.strip(), seconds)
