"""Values on the command line that several commands take."""

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
