"""`torchdevice report`: what programs and tests did, from the files that they left, and a limit for all of them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from torchdevice.cli.values import count
from torchdevice.reports.saved import NotAReportError, Saved, read

#: Exit statuses.
WITHIN, MISTAKE, OVER_BUDGET = 0, 2, 3

EPILOG = """\
examples:
  torchdevice run --json run.json train.py && torchdevice report run.json
  pytest --torchdevice-report tests.json; torchdevice report tests.json
  torchdevice report rank-*.json --max-fallbacks 0

exit status: 0; 3 if more calls fell back than --max-fallbacks allows, in all files together; 2 for a file that is none
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    files = "what `torchdevice run --json` or `pytest --torchdevice-report` wrote"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=files)
    parser.add_argument("--json", action="store_true", help="print it as data")
    budget = "exit with status 3 if more calls than that ran on the CPU in place of the native backend"
    parser.add_argument("--max-fallbacks", type=count, metavar="N", help=budget)
    parser.set_defaults(call=_main)


def _main(arguments: argparse.Namespace) -> int:
    reports: list[Saved] = []
    for path in arguments.files:
        try:
            reports.append(read(path))
        except NotAReportError as error:
            print(f"torchdevice report: {error}", file=sys.stderr)
            return MISTAKE
    total = sum(one.fallbacks for one in reports)
    if arguments.json:
        print(json.dumps({"fallbacks": total, "files": [one.to_data() for one in reports]}, indent=2))
    else:
        texts = [f"{one.path}: {one}" if len(reports) > 1 else str(one) for one in reports]
        print("\n\n".join(texts))
    if arguments.max_fallbacks is None or total <= arguments.max_fallbacks:
        return WITHIN
    print(
        f"torchdevice report: {total} calls fell back to the CPU, and --max-fallbacks allows {arguments.max_fallbacks}",
        file=sys.stderr,
    )
    return OVER_BUDGET
