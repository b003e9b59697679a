"""Writes the parts of the documents that come from the code: `documents.py`, or `documents.py --check` to compare."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rules import Half

    from torchdevice.scan.rules import Rule
    from torchdevice.settings import Setting

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

#: A path, a function with its parentheses, or a name with a dot or an underscore in it.
_CODE = re.compile(r"(?<![\w/.`])(?=\w*(?:[_./]\w|_\b|\(\)))[A-Za-z_][\w./]*\w(?:\(\))?")


def patches() -> str:
    """The table of torchdevice/patches/."""
    import torch  # noqa: F401, activates torchdevice, which needs its patches whole

    from torchdevice.patches import PATCHES

    rows = [f"| {_marked(patch.target)} | {_marked(patch.reason)} |" for patch in PATCHES]
    return "\n".join(["| changed | why |", "|---|---|", *rows])


def _marked(text: str) -> str:
    """With the names of code in backticks."""
    return _CODE.sub(lambda name: f"`{name[0]}`", text)


def settings() -> str:
    """The tables of torchdevice/settings.py, and what becomes of other values."""
    from torchdevice.settings import AS_UNSET, SETTINGS

    running = [setting for setting in SETTINGS.values() if not setting.at_build]
    building = [setting for setting in SETTINGS.values() if setting.at_build]
    any_value = _names(setting for setting in running if setting.bad == AS_UNSET)
    return (
        f"{_rows(running)}\n\n"
        f"An empty value is as if unset. Any other is an error; {any_value} ignore it.\n"
        "A misspelt name gives a warning.\n\n"
        f"For those who build torchdevice:\n\n{_rows(building)}"
    )


def _rows(settings: Iterable[Setting]) -> str:
    rows = [f"| `{one.name}` | {one.values} | {one.default} | {one.meaning} |" for one in settings]
    return "\n".join(["| variable | values | unset | meaning |", "|---|---|---|---|", *rows])


def _names(settings: Iterable[Setting]) -> str:
    *names, last = (f"`{setting.name}`" for setting in settings)
    return f"{', '.join(names)} and {last}"


def rules() -> str:
    """The tables of torchdevice/scan/rules.py, one for each verdict."""
    from torchdevice.scan.rules import RULES, Verdict

    return "\n\n".join(
        f"### {verdict.value.capitalize()}\n\n{_rule_rows(rule for rule in RULES.values() if rule.verdict is verdict)}"
        for verdict in Verdict
    )


def _rule_rows(rules: Iterable[Rule]) -> str:
    rows = [f"| `{rule.id}` | {rule.title} | {rule.advice} |" for rule in rules]
    return "\n".join(["| rule | what is found | what to do |", "|---|---|---|", *rows])


def cannot_work() -> str:
    """What torchdevice/scan/ knows of conformance/ledger.toml and wheels/releases.py, which no wheel has."""
    from conformance.ledger import LEDGER
    from wheels.releases import TORCHS

    reasons = {name: entry.reason for entry in LEDGER if not entry.late for name in entry.names}
    minors = sorted(tuple(int(number) for number in torch.split(".")[:2]) for torch in TORCHS)
    names = "".join(f"    {json.dumps(name)}: {json.dumps(reasons[name])},\n" for name in sorted(reasons))
    return (
        "CANNOT_WORK = {\n"
        f"{names}"
        "}\n\n"
        "#: The minors of torch that there are wheels for.\n"
        f"TORCH_MINORS = ({', '.join(str(minor) for minor in minors)})"
    )


def operator_rules() -> str:
    """What torchdevice/operators/ knows of codegen/rules.py, which no wheel has."""
    sys.path.insert(0, str(ROOT / "codegen"))
    import rules

    names = (
        "HANDWRITTEN",
        "HOST_SYNCS",
        "FLOAT8",
        "INT_MM",
        "FFT",
        "OF_ONE_TYPE",
        "ABSENT_ON_CUDA",
        "LINALG_DRIVERS",
        "BAD_INDICES",
        "INDEXING",
        "MASKING",
        "CONVOLUTIONS",
    )
    lines = [f"{name} = {_braced(sorted(getattr(rules, name)))}" for name in names]
    for name in ("NONDETERMINISTIC", "WIDER_TYPES_OF_ALL_FORMS", "WIDER_TYPES"):
        table = getattr(rules, name)
        lines.append(f"{name} = {_braced(sorted(table), table)}")
    refused = {name: (row.kernel, row.types, row.reduction) for name, row in rules.REFUSED_TYPES.items()}
    lines.append("#: By operator: CUDA's name of its kernel, types that this lacks, and the reduction that has them.")
    lines.append(f"REFUSED_TYPES = {_braced(sorted(refused), refused)}")
    halves = {name: _half_row(half) for name, half in rules.HALVES_IN_FLOAT32.items()}
    lines.append("#: By operator: when bfloat16 is native, when float16 is, and which results stay float32.")
    lines.append(f"HALVES_IN_FLOAT32 = {_braced(sorted(halves), halves)}")
    lines.append(f'INTEGER_DIVISIONS = r"{rules.INTEGER_DIVISIONS.pattern}"')
    return "\n".join(lines)


def _half_row(half: Half) -> tuple[object, ...]:
    words = {"kNever": "never", "kWithUnits": "with units", "kWithoutUnits": "without units", "kAlways": "always"}
    wide = tuple(bit for bit in range(half.wide_results.bit_length()) if half.wide_results >> bit & 1)
    return words[half.bfloat16], words[half.float16], wide


def _braced(names: list[str], values: dict[str, Any] | None = None) -> str:
    """A set of names or a dictionary, one a line, as ruff has it."""
    rows = (_literal(name) if values is None else _row(name, values[name]) for name in names)
    return "{\n" + "".join(f"    {row},\n" for row in rows) + "}"


def _row(name: str, value: object) -> str:
    row = f"{_literal(name)}: {_literal(value)}"
    if len(row) <= 115 or not isinstance(value, tuple):
        return row
    parts = "".join(f"        {_literal(part)},\n" for part in value)
    return f"{_literal(name)}: (\n{parts}    )"


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return json.dumps(value) if isinstance(value, str) else repr(value)


#: The document, the name of its part, and what belongs there.
PARTS: list[tuple[str, str, Callable[[], str]]] = [
    ("README.md", "settings", settings),
    ("docs/patches.md", "patches", patches),
    ("docs/scan.md", "rules", rules),
    ("torchdevice/scan/known.py", "known", cannot_work),
    ("torchdevice/operators/known.py", "rules", operator_rules),
]


def replaced(document: str, name: str, text: str) -> str:
    """`document` with `text` between the marks `<!-- name -->` and `<!-- end of name -->`, in code each a comment."""
    part = re.compile(rf"(<!-- {name} -->\n).*?((?:# )?<!-- end of {name} -->)", re.DOTALL)
    fresh, count = part.subn(lambda marks: f"{marks[1]}{text}\n{marks[2]}", document)
    if count != 1:
        raise ValueError(f"<!-- {name} --> must stand once in the document, but stands {count} times")
    return fresh


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a document is out of date")
    check = parser.parse_args().check
    stale = False
    for name, part, make in PARTS:
        path = ROOT / name
        before = path.read_text()
        after = replaced(before, part, make())
        if check:
            difference = difflib.unified_diff(before.splitlines(), after.splitlines(), name, "the code", lineterm="")
            for line in difference:
                print(line)
                stale = True
        elif after != before:
            path.write_text(after)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
