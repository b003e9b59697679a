"""What several commands take on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path


def new_file(text: str) -> Path:
    """A path that can be written to once the program has run."""
    path = Path(text)
    obstacle = "a folder" if path.is_dir() else None if path.parent.is_dir() else "no such folder"
    if obstacle is not None:
        raise argparse.ArgumentTypeError(f"cannot write to {text}: {obstacle}")
    return path


def count(text: str) -> int:
    """A number of calls or of other things."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number from 0 on, but is {text!r}")
    return int(text)


def add_program(parser: argparse.ArgumentParser) -> None:
    """A script or a module, and its arguments: the last of a command's own."""
    program = parser.add_mutually_exclusive_group(required=True)
    program.add_argument("-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE [ARGUMENT …]")
    program.add_argument("script", nargs="?", help="a Python file, and its arguments")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
