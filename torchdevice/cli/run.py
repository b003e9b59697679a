"""`torchdevice run`: a program with a report of its operators, and a limit to how many may fall back."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torchdevice.cli.values import add_program, count, new_file, program_of
from torchdevice.files import write
from torchdevice.program import Program
from torchdevice.reports.operators import Report, report

if TYPE_CHECKING:
    from torchdevice.reports.recorder import Recorder

#: Exit status of a program that did what it should, but on the CPU; and where there is no program.
OVER_BUDGET, MISTAKE = 3, 2

EPILOG = """\
examples:
  torchdevice run --report train.py --epochs 3
  torchdevice run --html run.html train.py
  torchdevice run --max-fallbacks 0 -m my_package.train

exit status: the program's; 3 if it was 0, and more calls fell back than --max-fallbacks allows; 2 for no program
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", action="store_true", help="a table of the operators at the end, on standard error")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="the same as data")
    page = "one page: operators and memory over time, fallbacks, device, log; it opens in a browser"
    parser.add_argument("--html", type=new_file, metavar="FILE", help=page)
    budget = "exit with status 3 if more calls than that ran on the CPU in place of the native backend"
    parser.add_argument("--max-fallbacks", type=count, metavar="N", help=budget)
    add_program(parser)
    parser.set_defaults(call=_main)


def _main(arguments: argparse.Namespace) -> int:
    program = program_of(arguments)
    if program is None:
        return MISTAKE
    return run(program, Options(arguments.report, arguments.json, arguments.max_fallbacks, arguments.html))


@dataclass(frozen=True)
class Options:
    """What is asked of a run."""

    report: bool
    json: Path | None
    max_fallbacks: int | None
    html: Path | None = None

    @property
    def counts(self) -> bool:
        return self.report or self.json is not None or self.max_fallbacks is not None


def run(program: Program, options: Options) -> int:
    """Run it, and tell what was asked for; returns the exit status. What it raises is raised, after the report."""
    if options.counts:
        os.environ["TORCHDEVICE_REPORT"] = "1"
    recorder = None
    if options.html is not None:
        from torchdevice.reports.recorder import Recorder

        recorder = Recorder()
        recorder.start()
    try:
        status = program.run()
    except BaseException as error:
        _draw(options, recorder, program.words, f"{type(error).__name__}: {error}"[:2000])
        _conclude(options)
        raise
    _draw(options, recorder, program.words, f"exit status {status}")
    within_budget = _conclude(options)
    return status or (0 if within_budget else OVER_BUDGET)


def _draw(options: Options, recorder: Recorder | None, program: list[str], outcome: str) -> None:
    """The page, if it is asked for."""
    if options.html is None or recorder is None:
        return
    from torchdevice.reports import page

    recording = recorder.stop()
    result: Report | str
    try:
        result = report()
    except RuntimeError as error:
        result = str(error)
    write("run", options.html, page.to_html(page.Run(program, outcome, _facts(), result, recording)))


def _facts() -> str:
    """What `torchdevice info` says of this process, if the program imported torch."""
    if "torch" not in sys.modules:
        return "torch           was not imported"
    from torchdevice.cli.info import describe

    return describe()


def _conclude(options: Options) -> bool:
    """Print and write what is asked; whether the program kept within its budget."""
    if not options.counts:
        return True
    sys.stdout.flush()
    try:
        result = report()
    except RuntimeError as error:
        print(f"torchdevice run: {error}", file=sys.stderr)
        return options.max_fallbacks is None
    if options.report:
        print(result, file=sys.stderr)
    if options.json is not None:
        write("run", options.json, result.to_json() + "\n")
    if options.max_fallbacks is None or result.fallbacks <= options.max_fallbacks:
        return True
    names = sorted({operator.name for operator in result.operators if operator.cpu.calls})
    print(
        f"torchdevice run: {result.fallbacks} calls fell back to the CPU, and --max-fallbacks allows "
        f"{options.max_fallbacks}: {', '.join(names)}",
        file=sys.stderr,
    )
    return False
