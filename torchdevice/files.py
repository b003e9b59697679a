"""Files that a command leaves: whether they can be written is tried at the start, as what a long run found is not to be
lost; that one cannot be written at the end is told, and changes nothing else."""

from __future__ import annotations

import sys
from pathlib import Path


def obstacle(path: Path) -> str | None:
    """Why it cannot be written; None if it can. What is there stays."""
    if path.is_dir():
        return "a folder"
    if not path.parent.is_dir():
        return "no such folder"
    if path.exists() and not path.is_file():
        return None  # a pipe, whose reader would take it for the end
    is_new = not path.exists()
    try:
        path.open("a").close()
    except OSError as error:
        return error.strerror
    if is_new:
        path.unlink()
    return None


def write(command: str, path: Path, text: str) -> bool:
    """Whether it could be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"torchdevice {command}: cannot write {path}: {error.strerror}", file=sys.stderr)
        return False
    return True
