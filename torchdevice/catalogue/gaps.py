"""What is missing: names that do not work here, signatures that torchdevice changed, and what a newer torch adds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from torchdevice.catalogue.releases import Names
from torchdevice.catalogue.schema import Catalogue

#: What is wrong with a name, the worst first, and what to do.
ACTIONS = {
    "unsupported": "give it a kernel or an answer, or one clear error that the ledger lists",
    "signature": "have the changed function take what torch's own takes",
    "removed": "programs for this torch use a name that the other one does not have",
    "modified": "compare with a GPU; if that differs from the CPU too, write it into a note",
    "parameters": "see whether what is patched here has to take them",
    "new": "run it with the other torch, and see that it works",
    "fallback": "nothing: it is right; a native kernel would make it faster",
}
#: Those that fail a build.
SERIOUS = ("unsupported", "signature")


@dataclass(frozen=True)
class Gap:
    """One name, and what is wrong with it."""

    name: str
    what: str  #: a key of ACTIONS
    detail: str
    #: How often programs name it: those that were given, else public ones (uses.py).
    uses: int = 0

    @property
    def severity(self) -> str:
        if self.what in SERIOUS:
            return "high" if self.uses else "medium"
        return "medium" if self.uses else "low"


def of_catalogue(catalogue: Catalogue) -> list[Gap]:
    """What did not come out as on the CPU, but for what people wrote a note to."""
    gaps = []
    for record in catalogue.records.values():
        for device, status in record.status.items():
            if status.value in ("unsupported", "modified", "fallback") and not record.note:
                gaps.append(Gap(record.name, status.value, f"{device}: {' '.join(status.reason.split())[:200]}"))
    return gaps


_SIGNATURES = """
import json, sys
from torchdevice.catalogue.extract import extract
names = {name: one.signature for name, one in extract().items() if one.kind in ("function", "method")}
json.dump(names, open(sys.argv[1], "w"))
"""


def of_patches(folder: Path) -> list[Gap]:
    """Signatures that differ from those of the same torch without torchdevice."""
    read = {}
    for switch in ("0", "1"):
        path = folder / f"signatures-{switch}.json"
        environment = dict(os.environ, TORCHDEVICE=switch)
        subprocess.run([sys.executable, "-c", _SIGNATURES, str(path)], env=environment, check=True, capture_output=True)
        read[switch] = json.loads(path.read_text())
    without, with_us = read["0"], read["1"]
    return [
        Gap(name, "signature", f"{without[name] or 'none'} became {with_us[name] or 'none'}")
        for name in sorted(without.keys() & with_us.keys())
        if without[name] != with_us[name]
    ]


def of_release(here: Names, other: Names, label: str) -> list[Gap]:
    """What another torch has, lacks or calls otherwise; both were read in the same way."""
    gaps = [Gap(name, "new", f"in {label}") for name in sorted(other.keys() - here.keys())]
    gaps += [Gap(name, "removed", f"in {label}") for name in sorted(here.keys() - other.keys())]
    for name in sorted(here.keys() & other.keys()):
        if added := other[name] - here[name]:
            gaps.append(Gap(name, "parameters", f"in {label} also {', '.join(sorted(added))}"))
    return gaps


def with_uses(gaps: Iterable[Gap], uses: Counter[str]) -> list[Gap]:
    """The most used first, then the worst."""
    order = list(ACTIONS)
    counted = [Gap(one.name, one.what, one.detail, uses[one.name]) for one in gaps]
    return sorted(counted, key=lambda one: (-one.uses, order.index(one.what), one.name))


def to_json(gaps: list[Gap]) -> list[dict[str, object]]:
    return [{**asdict(one), "severity": one.severity, "action": ACTIONS[one.what]} for one in gaps]


def to_markdown(gaps: list[Gap], uses_in: str) -> str:
    """A table for people; made by `torchdevice gaps`."""
    lines = ["# Gaps", "", f"Made by `python -m torchdevice gaps`. Uses were counted in {uses_in}.", ""]
    lines += ["| name | what | severity | uses | detail | what to do |", "|---|---|---|---|---|---|"]
    for one in gaps:
        detail = one.detail.replace("|", "\\|")
        row = (f"`{one.name}`", one.what, one.severity, str(one.uses), detail, ACTIONS[one.what])
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"
