"""What the code that inductor generates for cuda calls (codegen.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

from torchdevice import _C

capturing = torch._C._cuda_isCurrentStreamCapturing

_kernels: dict[int, Callable[..., None]] = {}
_library = torch.library.Library("torchdevice", "FRAGMENT")
_library.define("generated_kernel(int kernel, str uses, Tensor[] read, Tensor(a!)[] written, Scalar[] numbers) -> ()")


def captured(kernel: Callable[..., None], uses: str) -> Callable[..., None]:
    """The kernel as an operator, which a capture records and replays. `uses`: of each argument, "r", "w" or "n"."""

    def call(*arguments: Any) -> None:
        _kernels[id(kernel)] = kernel
        read, written, numbers = (
            [argument for argument, use in zip(arguments, uses, strict=True) if use == kind] for kind in "rwn"
        )
        with torch._C._AutoDispatchBelowAutograd():
            torch.ops.torchdevice.generated_kernel(id(kernel), uses, read, written, numbers)

    return call


@torch.library.impl(_library, "generated_kernel", "CPU")
def _run(kernel: int, uses: str, read: list[torch.Tensor], written: list[torch.Tensor], numbers: list[complex]) -> None:
    arguments = {"r": iter(read), "w": iter(written), "n": iter(numbers)}
    _kernels[kernel](*(next(arguments[use]) for use in uses))


def raise_as_uncompiled(error: RuntimeError) -> NoReturn:
    """A kernel's complaint about an index as CUDA's failed assertion, without the place in generated code."""
    _, found, bounds = str(error).partition("index out of bounds: ")
    if found:
        _C.fail_device_assertion("torch.compile", f"index out of bounds: {bounds}")
    raise error
