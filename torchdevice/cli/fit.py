"""`torchdevice fit`: does a program fit a GPU, and about how long does it take there."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from torchdevice import settings
from torchdevice.check import session
from torchdevice.cli.values import add_program, at_least_one, new_file, program_of
from torchdevice.files import write
from torchdevice.fit import page, report
from torchdevice.fit.gpus import GPUS, unknown
from torchdevice.fit.run import Devices, LostError, run
from torchdevice.fit.search import Range, search

#: Exit status of a program that did what it should, but does not fit; and of a mistake on the command line.
DOES_NOT_FIT, MISTAKE = 4, 2

#: Devices of a host, where nobody says how many.
_ON_A_HOST = 8

EPILOG = """\
examples:
  torchdevice fit --profile h100 train.py --batch 64
  torchdevice fit --profile rtx4090 --json fit.json -m mypackage.train
  torchdevice fit --profile h100 --html fit.html train.py
  torchdevice fit --profile h100 --search batch=1..512 train.py --batch {batch}
  torchdevice fit --profile h100 --ranks 8 train.py        for torchrun --nproc-per-node 8 train.py
  torchdevice fit --profile h100 --memory 1TiB train.py    how much it takes, where it does not fit

exit status: the program's own; 4 where it ended well and does not fit, or no value does;
2 for a mistake on the command line
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", required=True, metavar="GPU", help=f"one of {', '.join(GPUS)}")
    help_devices = "how many of them a host has, 1 to 64; 1, or with --ranks as many as there are ranks, but 8 at most"
    parser.add_argument("--devices", type=_count, metavar="N", help=help_devices)
    help_ranks = "processes of the program, as torchrun starts them: one is run for all, with nobody to talk to"
    parser.add_argument("--ranks", type=at_least_one, metavar="N", help=help_ranks)
    parser.add_argument("--memory", metavar="SIZE", help="memory of each, in place of the profile's: 1TiB")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the report as data, too")
    help_page = "one page: memory by kind and over time, the time's parts, what was read; it opens in a browser"
    parser.add_argument("--html", type=new_file, metavar="FILE", help=help_page)
    help_search = "the largest value that fits; {NAME} in the program's arguments stands for it"
    parser.add_argument("--search", type=_range, metavar="NAME=FIRST..LAST", help=help_search)
    add_program(parser)
    parser.set_defaults(call=fit)


def fit(arguments: argparse.Namespace) -> int:
    """Run it dry, report on standard error, return the exit status."""
    profile = arguments.profile.lower()
    mistake = _mistake(arguments, profile)
    if mistake is not None:
        return _refuse(mistake)
    program = program_of(arguments)
    if program is None:
        return MISTAKE
    count = arguments.devices or min(arguments.ranks or 1, _ON_A_HOST)
    devices = Devices(profile, count, arguments.ranks, arguments.memory)
    if arguments.search is not None:
        if not arguments.search.is_in(program):
            mark = arguments.search.mark
            text = f"no argument of the program has {mark}, for --search to put values there: --{mark[1:-1]} {mark}"
            return _refuse(text)
        found = search(program, devices, arguments.search)
        print(found.text(), file=sys.stderr)
        _write(arguments.json, found.data())
        return found.status
    try:
        record = run(program, devices, curves=arguments.html is not None)
    except LostError as error:
        print(f"torchdevice fit: {error}", file=sys.stderr)
        return error.status
    sys.stdout.flush()
    print(report.text(record, profile), file=sys.stderr)
    _write(arguments.json, report.data(record, profile))
    if arguments.html is not None:
        write("fit", arguments.html, page.to_html(record, profile, program.words))
    return record.status or (0 if report.fits(record, profile) else DOES_NOT_FIT)


#: Modules that start a program's processes.
_LAUNCHERS = ("torch.distributed.run", "torch.distributed.launch")


def _refuse(mistake: str) -> int:
    print(f"torchdevice fit: {mistake}", file=sys.stderr)
    return MISTAKE


def _mistake(arguments: argparse.Namespace, profile: str) -> str | None:
    if profile not in GPUS:
        return unknown(arguments.profile)
    if arguments.search is not None and arguments.html is not None:
        return "--html is of one run: search without it, then run the program with the value that was found"
    if settings.read(session.SETTING) is not None:
        return (
            f"{session.SETTING} is set: a dry run computes nothing, so what a program reads and writes cannot be "
            "checked; unset it, or run the program by `torchdevice check`"
        )
    if arguments.module and arguments.module[0] in _LAUNCHERS:
        return (
            f"{arguments.module[0]} starts processes, of which nothing would be known: say --ranks 8 train.py instead"
        )
    return None


def _write(path: Path | None, data: dict[str, Any]) -> None:
    if path is not None:
        write("fit", path, json.dumps(data, indent=1) + "\n")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"must be 1 to 64, got {text!r}")
    return int(text)


def _range(text: str) -> Range:
    try:
        return Range.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
