"""The command line: `torchdevice info`, `… run`, `… fit`, `… check`, `… scan`, `… catalogue` and so on.

Each command is imported when it is called: none pays for what another needs, and `run` leaves it to the program whether
torch is imported.
"""

from __future__ import annotations

import argparse

from torchdevice.cli.values import add_program, new_file, program_of

_RUN_EPILOG = """\
examples:
  torchdevice run --report train.py --epochs 3
  torchdevice run --html run.html train.py
  torchdevice run --max-fallbacks 0 -m my_package.train

exit status: the program's; 3 if it was 0, and more calls fell back than --max-fallbacks allows; 2 for no program
"""

_SCAN_EPILOG = """\
examples:
  torchdevice scan train.py
  torchdevice scan . --sarif scan.sarif
  torchdevice scan timm --json

exit status: 0 nothing that cannot work, 1 something that cannot, 2 nothing to scan
"""

_WHY_EPILOG = """\
examples:
  torchdevice why linalg.eigh
  torchdevice why aten::addmm --dtype bfloat16
  torchdevice why index.Tensor --json

exit status: 0 it runs natively, 1 it falls back to the CPU or has no kernel, 2 there is no such operator
"""


def make_parser(program: str) -> argparse.ArgumentParser:
    """The parser of the whole command line, of which the site's page of commands is made."""
    parser = argparse.ArgumentParser(prog=program, description="CUDA programs without an NVIDIA GPU")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="is torchdevice active here, why or why not, and over what")
    _add_run(commands)
    _add_check(commands)
    _add_fit(commands)
    _add_scan(commands)
    _add_why(commands)
    _add_catalogue(commands)
    _add_gaps(commands)
    _add_suite(commands)
    doctor_parser = commands.add_parser("doctor", help="a block of text to paste into a report")
    doctor_parser.add_argument("--full", action="store_true", help="check every claim on this machine, for minutes")
    commands.add_parser("settings", help="the environment variables that torchdevice reads")
    return parser


def main(program: str = "torchdevice") -> int:
    """What was asked on the command line, by a script of that name; returns the exit status."""
    arguments = make_parser(program).parse_args()
    if arguments.command == "run":
        return _run(arguments)
    if arguments.command == "check":
        from torchdevice.cli.check import check

        return check(arguments)
    if arguments.command == "fit":
        from torchdevice.cli.fit import fit

        return fit(arguments)
    if arguments.command == "scan":
        from torchdevice.cli import scan

        return scan.run(arguments.target, scan.Options(arguments.json, arguments.sarif, arguments.all))
    if arguments.command == "why":
        import torch  # noqa: F401, activates torchdevice

        from torchdevice.cli.why import why

        return why(arguments.operator, arguments.dtype, arguments.json)
    if arguments.command == "catalogue":
        from torchdevice.cli.catalogue import catalogue

        return catalogue(arguments)
    if arguments.command == "gaps":
        from torchdevice.cli.gaps import gaps

        return gaps(arguments)
    if arguments.command == "suite":
        from torchdevice.cli.suite import suite

        return suite(arguments)
    if arguments.command == "doctor":
        from torchdevice.cli.doctor import doctor

        return doctor(arguments.full)
    if arguments.command == "settings":
        from torchdevice.cli.settings import describe_all

        print(describe_all())
        return 0
    from torchdevice.cli.info import describe

    print(describe())
    return 0


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "run",
        help="run a program, with a report of what fell back to the CPU",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run a program as Python would, and tell what it did on device cuda.",
        epilog=_RUN_EPILOG,
    )
    parser.add_argument("--report", action="store_true", help="a table of the operators at the end, on standard error")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="the same as data")
    page = "one page: operators and memory over time, fallbacks, device, log; it opens in a browser"
    parser.add_argument("--html", type=new_file, metavar="FILE", help=page)
    budget = "exit with status 3 if more calls than that ran on the CPU in place of the native backend"
    parser.add_argument("--max-fallbacks", type=_budget, metavar="N", help=budget)
    add_program(parser)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from torchdevice.cli.check import EPILOG, add_arguments

    parser = commands.add_parser(
        "check",
        help="run a program, and find what would go wrong on a GPU",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run a program, and find what would go wrong on a GPU, each thing with its lines in the program.",
        epilog=EPILOG,
    )
    add_arguments(parser)


def _add_fit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from torchdevice.cli.fit import EPILOG, add_arguments

    parser = commands.add_parser(
        "fit",
        help="does a program fit a GPU, and about how long does it take there; nothing is computed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run a program on devices of a GPU's size that compute nothing, and report its memory and time.",
        epilog=EPILOG,
    )
    add_arguments(parser)


def _add_scan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "scan",
        help="read a program, without running it, and say what will not work",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Read a program, without running it, and say what will not work on torchdevice.",
        epilog=_SCAN_EPILOG,
    )
    parser.add_argument("target", metavar="PATH|PACKAGE", help="a file, a folder, or a package that is installed here")
    parser.add_argument("--json", action="store_true", help="print the report as data")
    parser.add_argument("--sarif", type=new_file, metavar="FILE", help="write it as SARIF 2.1.0, for code scanning")
    parser.add_argument("--all", action="store_true", help="in the table, also what works")


def _add_why(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "why",
        help="how an operator travels here: its kernel, its rules, the fallback, half precision",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="How an operator travels on device cuda here.",
        epilog=_WHY_EPILOG,
    )
    parser.add_argument("operator", help="a name of torch's, such as linalg.eigh, aten::mul or index.Tensor")
    parser.add_argument("--dtype", help="a data type, such as float16: what becomes of it")
    parser.add_argument("--json", action="store_true", help="print it as data")


def _add_catalogue(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from torchdevice.cli.catalogue import EPILOG, add_arguments

    parser = commands.add_parser(
        "catalogue",
        help="the whole torch API, and what came of running it here",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Every public name of the installed torch, and what came of running it on device cuda here.",
        epilog=EPILOG,
    )
    add_arguments(parser)


def _add_gaps(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from torchdevice.cli.gaps import EPILOG, add_arguments

    parser = commands.add_parser(
        "gaps",
        help="what does not work here, what torchdevice changed, what a newer torch adds",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="What the catalogue has that does not work, signatures that torchdevice changed, other releases.",
        epilog=EPILOG,
    )
    add_arguments(parser)


def _add_suite(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from torchdevice.cli.suite import EPILOG, add_arguments

    parser = commands.add_parser(
        "suite",
        help="run another project's own tests on cuda and on the CPU, and compare",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run another project's own tests on cuda and, without torchdevice, on the CPU; say what differs.",
        epilog=EPILOG,
    )
    add_arguments(parser)


def _budget(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be 0 or more calls, got {text!r}")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    from torchdevice.cli.run import Options, run

    program = program_of(arguments)
    if program is None:
        return 2
    return run(program, Options(arguments.report, arguments.json, arguments.max_fallbacks, arguments.html))
