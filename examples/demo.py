"""What the demos of language and speech share: a text to learn, models of the Hub by name, the last line they print."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

Model = TypeVar("Model")

RHYME = """Twinkle, twinkle, little star,
How I wonder what you are!
Up above the world so high,
Like a diamond in the sky.
"""


class Demo:
    """One run: its clock and its folder.

    Raises:
        SystemExit: torch sees no CUDA device.
    """

    def __init__(self, name: str, out: Path) -> None:
        if not torch.cuda.is_available():
            raise SystemExit(f"{name}: torch sees no CUDA device")
        out.mkdir(parents=True, exist_ok=True)
        self.name, self.out = name, out
        self._began = time.perf_counter()

    def from_hub(self, model: str | None, load: Callable[[str], Model]) -> Model | None:
        """What `load` makes of a model's name or folder; None where none is asked for or it cannot be had, as is told.

        Raises:
            SystemExit: it is a model of another kind.
        """
        if model is None:
            return None
        try:
            return load(model)
        except (ImportError, OSError) as error:
            print(f"{self.name}: cannot load {model}, a tiny model takes its place: {_first(error)}", file=sys.stderr)
            return None
        except (KeyError, ValueError) as error:
            raise SystemExit(f"{self.name}: {model} is no model for this: {_first(error)}") from None

    def ending(self, *files: str) -> str:
        """On which device it ran, how long, with how much memory, and where to look."""
        seconds, peak = time.perf_counter() - self._began, torch.cuda.max_memory_allocated() / 2**20
        where = ", ".join(str(self.out / file) for file in files)
        return f"cuda:0 ({torch.cuda.get_device_name()}), {seconds:.1f} s, {peak:.1f} MiB at most; see {where}"


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
