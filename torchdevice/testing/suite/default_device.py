"""A plug-in for pytest, for the tests of a library that know nothing of devices.

SUITE_DEFAULT_DEVICE is torch's default device. Random numbers are the CPU's on each, from the seed of
torchmetrics' examples; and what a docstring's example prints is compared without the device and without white space.
"""

from __future__ import annotations

import doctest
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

DEVICE = os.environ.get("SUITE_DEFAULT_DEVICE")


class DrawnOnTheCPU(TorchFunctionMode):
    factories = frozenset({torch.rand, torch.randn, torch.randint, torch.randperm})

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get("generator") or torch.default_generator
        if function in self.factories and "device" not in kwargs and generator.device.type == "cpu":
            return function(*args, **kwargs, device="cpu").to(DEVICE)
        return function(*args, **kwargs)


@pytest.fixture(autouse=bool(DEVICE))
def _seed() -> None:
    torch.manual_seed(42)


if DEVICE:
    torch.set_default_device(DEVICE)
    DrawnOnTheCPU().__enter__()
    printed = f",device='{torch.empty(0).device}'"
    compare = doctest.OutputChecker.check_output

    def check_output(self: doctest.OutputChecker, want: str, got: str, optionflags: int) -> bool:
        want, got = ("".join(text.replace("<BLANKLINE>", "").split()) for text in (want, got))
        return compare(self, want, got.replace(printed, ""), optionflags)

    doctest.OutputChecker.check_output = check_output  # type: ignore[method-assign]
