"""`torchdevice gaps`: what does not work here, what torchdevice changed, and what a newer torch adds."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from torchdevice import progress
from torchdevice.cli.values import new_file
from torchdevice.files import write

#: Exit statuses; argparse has the last one too.
NONE, SERIOUS, USAGE = 0, 1, 2

EPILOG = """\
examples:
  torchdevice gaps
  torchdevice gaps --used-by src --json
  torchdevice gaps --against torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl --out gaps.md

exit status: 0 nothing that does not work, 1 something that does not, or a changed signature, 2 wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", type=Path, default=Path("catalogue.json"), help="the catalogue (catalogue.json)")
    against = "another torch: its wheel, or its folder where it is installed; it is read, not imported"
    parser.add_argument("--against", type=Path, metavar="TORCH", help=against)
    parser.add_argument(
        "--used-by",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="programs whose uses count (public libraries)",
    )
    parser.add_argument("--json", action="store_true", help="print them as data")
    parser.add_argument("--out", type=new_file, metavar="FILE", help="write them as Markdown")
    parser.set_defaults(call=gaps)


def gaps(arguments: argparse.Namespace) -> int:
    """Find and tell; returns the exit status."""
    try:
        from torchdevice.catalogue import gaps as found_by
        from torchdevice.catalogue import releases, store, uses
    except ImportError as error:
        print(f"torchdevice gaps: {error}: pip install 'torchdevice-ext[tools]'", file=sys.stderr)
        return USAGE
    missing = [path for path in arguments.used_by if not path.exists()]
    if missing:
        print(f"torchdevice gaps: there is no {missing[0]}", file=sys.stderr)
        return USAGE
    progress.import_torch()
    import torch

    try:
        with progress.during(f"reading {arguments.file}"):
            known = store.load(arguments.file, "0.0")
        if not known.records:
            hint = "`python -m torchdevice catalogue update` makes it"
            print(f"torchdevice gaps: {arguments.file} is empty: {hint}", file=sys.stderr)
            return USAGE
        found = found_by.of_catalogue(known)
        signatures = "reading signatures, with torchdevice and without it"
        with progress.during(signatures), tempfile.TemporaryDirectory() as folder:
            found += found_by.of_patches(Path(folder))
        if arguments.against is not None:
            with progress.during(f"comparing with {arguments.against}"):
                here = releases.read(Path(torch.__file__).parent)
                found += found_by.of_release(here, releases.read(arguments.against), arguments.against.name)
    except (store.CatalogueError, releases.ReleaseError) as error:
        print(f"torchdevice gaps: {error}", file=sys.stderr)
        return USAGE
    if arguments.used_by:
        uses_in = ", ".join(map(str, arguments.used_by))
        with progress.during(f"counting uses in {uses_in}"):
            counts = uses.count(arguments.used_by)
    else:
        table = uses.shipped()
        counts, uses_in = table.counts, str(table)
    found = found_by.with_uses(found, counts)
    if arguments.out is not None:
        write("gaps", arguments.out, found_by.to_markdown(found, uses_in))
    if arguments.json:
        print(json.dumps(found_by.to_json(found), indent=2))
    else:
        for one in found:
            print(f"{one.severity:<6}  {one.uses:>5}  {one.what:<11}  {one.name}  {one.detail}")
        kinds = Counter(one.what for one in found)
        print(f"{len(found)} gaps: {', '.join(f'{count} {what}' for what, count in kinds.items()) or 'none'}")
    return SERIOUS if any(one.what in found_by.SERIOUS for one in found) else NONE
