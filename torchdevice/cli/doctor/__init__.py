"""`torchdevice doctor`: what this installation is and, with --full, whether each claim holds here.

Prints one block of text to paste into a report. Each claim is checked in a process of its own, so that one that
crashes or hangs is a line in the block.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torchdevice
from torchdevice import progress
from torchdevice.cli import info

EPILOG = """\
examples:
  torchdevice doctor
  torchdevice doctor --full
  torchdevice doctor --full --json

exit status: 0 every claim that was checked holds, 1 one does not; without --full that of `torchdevice info`
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
    parser.add_argument("--json", action="store_true", help="print it as data, at the end")
    parser.set_defaults(call=lambda arguments: doctor(arguments.full, arguments.json))


def doctor(full: bool, as_json: bool = False) -> int:
    """Tell, claim by claim; returns the exit status."""
    facts = info.data()
    findings = check_claims() if full else iter(())
    found = _listed(facts, findings) if as_json else _told(facts, findings, full)
    return 1 if failures(found) else 0 if full else info.exit_status(facts)


def _listed(facts: dict[str, Any], findings: Iterator[Finding]) -> list[Finding]:
    found = list(findings)
    data = {**machine(), "info": facts, "claims": [asdict(finding) for finding in found]}
    print(json.dumps(data, indent=2))
    return found


def _told(facts: dict[str, Any], findings: Iterator[Finding], full: bool) -> list[Finding]:
    here = machine()
    print("```")
    print(f"torchdevice-ext {here['torchdevice']}, Python {here['python']}")
    print(f"machine         {here['machine']}, {here['system']}")
    print(info.text(facts), flush=True)
    found = []
    for finding in findings:
        print(finding, flush=True)
        found.append(finding)
    if full and facts["active"]:
        checked = [finding for finding in found if finding.result != "-"]
        held = len(checked) - failures(checked)
        seconds = sum(finding.seconds for finding in checked)
        print(f"{held} of {len(checked)} claims hold over {facts['native_backend']} ({seconds:.0f} s)")
    print("```")
    return found


def failures(findings: list[Finding]) -> int:
    return sum(finding.result == "FAIL" for finding in findings)


def machine() -> dict[str, str]:
    system = f"macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else platform.platform()
    return {
        "torchdevice": torchdevice.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": system,
    }


def check_claims() -> Iterator[Finding]:
    """Check one after the other."""
    if not torchdevice.status().active:
        yield Finding("torchdevice is active", "FAIL", "")
        return
    from torchdevice import _C  # this and the claims load only where torch is imported
    from torchdevice.cli.doctor.claims import CLAIMS

    for number, claim in enumerate(CLAIMS.values(), 1):
        if claim.applies():
            with progress.during(f"claim {number} of {len(CLAIMS)}: {claim.name}"):
                finding = _check(claim.name, claim.environment)
            yield finding
        else:
            yield Finding(claim.name, "-", f"not over {_C.native_backend_name()}")


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
