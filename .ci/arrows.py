"""The arrows between the folders of csrc: `arrows.py [--root DIR]`.

Prints how often each folder's files include each other folder's. Fails on an include of a folder further up that
ALLOWED does not list, on a line of ALLOWED that nothing needs, and on a folder that FOLDERS does not know.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: From top to bottom: a folder includes those below it. A folder within one of these belongs to it unless it is listed.
FOLDERS: Sequence[str] = (
    # The backends register themselves: nobody includes them.
    "native/mps",
    "native/cpu",
    "native/dry",
    "python",
    "hooks",
    "distributed",
    "check",
    "graph",
    "aten",
    "dry",
    "forward",
    "allocator",
    "runtime",
    "native",
    "settings",
    "versions",
)

#: The arrows that may go up, (from, to): why.
ALLOWED: Mapping[tuple[str, str], str] = {}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)/[^"/]+"', re.MULTILINE)

#: (from, to): one line for each include.
Arrows = dict[tuple[str, str], list[str]]


def room(folder: str, folders: Sequence[str]) -> str:
    """The listed folder that a folder belongs to; the folder itself if it belongs to none."""
    parts = folder.split("/")
    outwards = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((one for one in outwards if one in folders), folder)


def arrows(csrc: Path, folders: Sequence[str]) -> Arrows:
    """Every include of another folder."""
    found: Arrows = {}
    for path in sorted(path for path in csrc.rglob("*") if path.suffix in (".h", ".cpp", ".inc")):
        file = path.relative_to(csrc)
        source = room(file.parent.as_posix(), folders)
        for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
            target = room(included, folders)
            if source != target:
                found.setdefault((source, target), []).append(f"{file.as_posix()} includes {included}/")
    return found


def table(found: Arrows, folders: Sequence[str]) -> str:
    """The includes counted: a row for each folder that includes, a column for each that is included."""
    there = [folder for folder in folders if any(folder in arrow for arrow in found)]
    width = max(map(len, there), default=0)
    lines = [" " * width + "".join(f"  {target:>{max(len(target), 3)}}" for target in there)]
    for source in there:
        counts = [len(found.get((source, target), ())) for target in there]
        cells = [f"  {count or '.':>{max(len(target), 3)}}" for count, target in zip(counts, there, strict=True)]
        lines.append(f"{source:<{width}}" + "".join(cells))
    return "\n".join(lines)


def mistakes(found: Arrows, folders: Sequence[str], allowed: Mapping[tuple[str, str], str]) -> list[str]:
    """What is not as FOLDERS and ALLOWED say."""
    unknown = sorted({folder for arrow in found for folder in arrow} - set(folders))
    wrong = [f"{folder}: not in FOLDERS of .ci/arrows.py; say there what it stands above" for folder in unknown]
    up = upward(found, folders)
    for arrow in up:
        if arrow not in allowed:
            wrong += [f"{line}: {arrow[1]} stands above {arrow[0]}" for line in found[arrow]]
    gone = [arrow for arrow in allowed if arrow not in up]
    return wrong + [f"{source} -> {target}: in ALLOWED of .ci/arrows.py, and not needed" for source, target in gone]


def upward(found: Arrows, folders: Sequence[str]) -> list[tuple[str, str]]:
    """The arrows between known folders that go up."""
    floor = {folder: number for number, folder in enumerate(folders)}
    return [
        (source, target)
        for source, target in found
        if source in floor and target in floor and floor[source] > floor[target]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    csrc = parser.parse_args(arguments).root / "csrc"
    if not csrc.is_dir():
        print(f"{csrc}: no such folder", file=sys.stderr)
        return 2
    found = arrows(csrc, FOLDERS)
    there = {folder for arrow in found for folder in arrow}
    pairs = len(there) * (len(there) - 1) // 2
    print(table(found, FOLDERS))
    print(
        f"{len(there)} folders, {len(found)} arrows of {pairs} pairs, {len(upward(found, FOLDERS))} upward, "
        f"{sum(map(len, found.values()))} includes"
    )
    wrong = mistakes(found, FOLDERS, ALLOWED)
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
