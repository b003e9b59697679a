"""`torchdevice check`: a program under the checkers, and what they found."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from torchdevice import progress
from torchdevice.activation import NOT_ACTIVE, status
from torchdevice.check import session, suppressions
from torchdevice.cli.values import add_program, count, new_file, program_of

EPILOG = """\
examples:
  torchdevice check train.py --steps 10
  torchdevice check --only races,lifetime --json findings.json train.py
  torchdevice check --suppressions known.txt -m package.train

exit status: the program's own; 4 where it ended well but something was found; 2 where nothing could be checked
"""

#: Exit status of a program that ended well, but made mistakes.
FOUND = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="all", metavar="LIST", help="some of the checkers, with commas between")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write what was found as data")
    budget = "a line that makes the host wait more often than that, without being asked to, is a finding"
    parser.add_argument("--max-waits", type=count, metavar="N", help=budget)
    known = "findings to let be: a file of lines `KIND PATTERN  # why`"
    parser.add_argument("--suppressions", type=_suppressions, default=[], metavar="FILE", help=known)
    add_program(parser)
    parser.set_defaults(call=check)


def check(arguments: argparse.Namespace) -> int:
    """Run the program; returns the exit status. What the program raises is raised."""
    program = program_of(arguments)
    if program is None:
        return 2
    os.environ[session.SETTING] = arguments.only
    progress.import_torch()
    if not status().active:
        print(f"torchdevice check: {NOT_ACTIVE}{status().reason}", file=sys.stderr)
        return 2
    asked = (arguments.suppressions, arguments.json, arguments.max_waits)
    try:
        result = program.run()
    except BaseException:
        session.conclude(*asked)
        raise
    found = session.conclude(*asked)
    return result or (FOUND if found else 0)


def _suppressions(text: str) -> list[suppressions.Suppression]:
    try:
        return suppressions.load(Path(text))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
