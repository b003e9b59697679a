"""How far a command is: one line of a terminal, on standard error, and nothing where nobody looks."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def show(text: str) -> None:
    """In place of what was shown before; an empty text takes it away."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1  # a line that is broken in two could not be taken away
        print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)


@contextmanager
def during(text: str) -> Iterator[None]:
    """Shown as long as it lasts."""
    show(text)
    try:
        yield
    finally:
        show("")


def import_torch() -> None:
    """With a word about it: it takes seconds. It activates torchdevice."""
    if "torch" not in sys.modules:
        with during("importing torch"):
            import torch  # noqa: F401
