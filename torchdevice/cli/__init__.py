"""The command line: `torchdevice info`, `… run`, `… fit`, `… check`, `… scan`, `… catalogue` and so on.

Each command is a module of its name here, with its examples (`EPILOG`) and its arguments (`add_arguments`), which also
say what to call. It is imported when it is called: none pays for what another needs, and `run` leaves it to the program
whether torch is imported.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys

#: What each does, in the list of commands and in its own help.
_COMMANDS = {
    "info": (
        "is torchdevice active here, why or why not, and over what",
        "Is torchdevice active here, why or why not, over what, and how is it set.",
    ),
    "run": (
        "run a program, with a report of what fell back to the CPU",
        "Run a program as Python would, and tell what it did on device cuda.",
    ),
    "report": (
        "show again what programs and tests left in files",
        "Show what `torchdevice run --json` and `pytest --torchdevice-report` wrote; one limit for all of it.",
    ),
    "check": (
        "run a program, and find what would go wrong on a GPU",
        "Run a program, and find what would go wrong on a GPU, each thing with its lines in the program.",
    ),
    "fit": (
        "does a program fit a GPU, and about how long does it take there; nothing is computed",
        "Run a program on devices of a GPU's size that compute nothing, and report its memory and time.",
    ),
    "scan": (
        "read a program, without running it, and say what will not work",
        "Read a program, without running it, and say what will not work on torchdevice.",
    ),
    "why": (
        "how an operator travels here: its kernel, its rules, the fallback, half precision",
        "How an operator travels on device cuda here.",
    ),
    "catalogue": (
        "the whole torch API, and what came of running it here",
        "Every public name of the installed torch, and what came of running it on device cuda here.",
    ),
    "gaps": (
        "what does not work here, what torchdevice changed, what a newer torch adds",
        "What the catalogue has that does not work, signatures that torchdevice changed, other releases.",
    ),
    "suite": (
        "run another project's own tests on cuda and on the CPU, and compare",
        "Run another project's own tests on cuda and, without torchdevice, on the CPU; say what differs.",
    ),
    "doctor": (
        "a block of text to paste into a report",
        "A block of text to paste into a report: this installation, and with --full what holds on this machine.",
    ),
    "settings": (
        "the environment variables that torchdevice reads",
        "The environment variables that torchdevice reads: what each may be, and what it means.",
    ),
}


def make_parser(program: str, only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line, of which the site's page of commands is made; or that of one command."""
    parser = argparse.ArgumentParser(prog=program, description="CUDA programs without an NVIDIA GPU")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (summary, description) in _COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if only in (None, name):
            module = importlib.import_module(f"torchdevice.cli.{name}")
            command.epilog = module.EPILOG
            module.add_arguments(command)
    return parser


def main(program: str = "torchdevice") -> int:
    """What was asked on the command line, by a script of that name; returns the exit status."""
    name = "".join(sys.argv[1:2])
    parser = make_parser(program, only=name)
    if name and not name.startswith("-") and name not in _COMMANDS:
        parser.error(f"there is no command '{name}'{_nearest(name)}")
    arguments = parser.parse_args()
    status: int = arguments.call(arguments)
    return status


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, _COMMANDS, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
