"""What several commands take on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torchdevice import files
from torchdevice.program import Program


def new_file(text: str) -> Path:
    """A path that can be written to once the program has run, whatever folder it is in then."""
    path = Path(text)
    why = files.obstacle(path)
    if why is not None:
        raise argparse.ArgumentTypeError(f"cannot write to {text}: {why}")
    return path.absolute()


def count(text: str) -> int:
    """A number of calls."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be 0 or more calls, got {text!r}")
    return int(text)


def at_least_one(text: str) -> int:
    """A number of processes."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text!r}")
    return int(text)


def add_program(parser: argparse.ArgumentParser) -> None:
    """A script or a module, and its arguments: the last of a command's own."""
    program = parser.add_mutually_exclusive_group(required=True)
    program.add_argument("-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE [ARGUMENT …]")
    program.add_argument("script", nargs="?", help="a Python file, and its arguments")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def program_of(arguments: argparse.Namespace) -> Program | None:
    """What `add_program` took; None where there is no such program, which is told."""
    if arguments.module is None:
        program = Program(arguments.script, tuple(arguments.arguments))
    else:
        name, *others = arguments.module or [""]
        program = Program(name, tuple(others), is_module=True)
    mistake = program.mistake()
    if mistake is None:
        return program
    print(f"torchdevice {arguments.command}: {mistake}", file=sys.stderr)
    return None
