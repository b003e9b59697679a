"""What a process says of its findings when it ends: under TORCHDEVICE_CHECK, once, on standard error."""

from __future__ import annotations

import atexit
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torchdevice.check.findings import Finding, findings
from torchdevice.check.suppressions import Suppression, split
from torchdevice.check.waits import over_budget, table, waits
from torchdevice.files import write

SETTING = "TORCHDEVICE_CHECK"

_has_told = False


def start() -> None:
    """The findings are told at the end, unless somebody does it before."""
    atexit.register(_tell_at_exit)


def leave_it_to_others() -> None:
    """Somebody else tells what is found."""
    global _has_told
    _has_told = True


def conclude(
    suppressions: Sequence[Suppression] = (), file: Path | None = None, max_waits: int | None = None
) -> list[Finding]:
    """Tell what was found, write it to `file`, and return it.

    Waits of the host are told. They are findings where one line makes more than `max_waits` of them.
    """
    leave_it_to_others()
    waited = waits()
    too_many = over_budget(waited, max_waits) if max_waits is not None else []
    left, idle = split([*findings(), *too_many], suppressions)
    sys.stdout.flush()
    for suppression in idle:
        print(f"torchdevice check: nothing needed the suppression {_line(suppression)}", file=sys.stderr)
    if left:
        print(f"torchdevice check: {len(left)} finding{'' if len(left) == 1 else 's'}", file=sys.stderr)
    for finding in left:
        print(f"\n{finding}", file=sys.stderr)
    if text := table(waited):
        print(text, file=sys.stderr)
    if file is not None:
        data = {"findings": [finding.to_data() for finding in left], "waits": [asdict(wait) for wait in waited]}
        write("check", file, json.dumps(data, indent=2) + "\n")
    return left


def _line(suppression: Suppression) -> str:
    return f"{suppression.kind} {suppression.pattern}  # {suppression.reason}"


def _tell_at_exit() -> None:
    if not _has_told:
        conclude()
