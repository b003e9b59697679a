"""Where programs ask what GPU there is, and set what only a GPU's libraries obey, so that the log can tell of it.

torchdevice/reports/log.py installs these changes when it is asked for, and they are taken back with all others. The
table in patches/__init__.py lists them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from torchdevice.patches.change import Undo, make_all, set_all

#: What was called, with which arguments, and what it answered.
Notice = Callable[[str, tuple[Any, ...], Any], None]

_PROBES: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (
        torch.cuda,
        "torch.cuda",
        (
            "is_available", "device_count", "get_device_name", "get_device_properties", "get_device_capability",
            "get_arch_list", "is_bf16_supported", "mem_get_info",
        ),
    ),
    (torch.backends.cuda, "torch.backends.cuda", ("is_built",)),
    (torch.backends.cudnn.m, "torch.backends.cudnn", ("is_available", "version")),  # type: ignore[attr-defined]
    (torch.backends.mps, "torch.backends.mps", ("is_available", "is_built")),
    (torch.accelerator, "torch.accelerator", ("is_available", "device_count", "current_accelerator")),
)  # fmt: skip

#: Setters of torch._C that are accepted as on a GPU: the option as programs know it, and why it changes nothing here.
OPTIONS = {
    "_set_cublas_allow_tf32": (
        "torch.backends.cuda.matmul.allow_tf32",
        "products of float32 are exact here",
    ),
    "_set_cublas_allow_fp16_reduced_precision_reduction": (
        "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
        "sums of float16 products are kept in float32 here",
    ),
    "_set_cublas_allow_bf16_reduced_precision_reduction": (
        "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
        "sums of bfloat16 products are kept in float32 here",
    ),
    "_set_float32_matmul_precision": (
        "torch.set_float32_matmul_precision",
        "products of float32 are exact here",
    ),
}
#: The same of torch.backends.cudnn.
CUDNN_OPTIONS = {
    "benchmark": "there is no cuDNN that could try its kernels",
    "allow_tf32": "convolutions of float32 are exact here",
}

_undo: Undo | None = None


def install(asked: Notice, set_without_effect: Notice) -> None:
    """Tell of each probe, and of each such option that is set, until `take_back`."""
    global _undo
    if _undo is not None:
        return
    _undo = make_all(_changes(asked, set_without_effect))


def _changes(asked: Notice, set_without_effect: Notice) -> Iterator[Undo]:
    for owner, label, names in _PROBES:
        yield set_all(owner, {name: _telling(getattr(owner, name), f"{label}.{name}", asked) for name in names})
    for setter, (option, why) in OPTIONS.items():
        yield set_all(torch._C, {setter: _telling(getattr(torch._C, setter), option, set_without_effect, why)})
    for name, why in CUDNN_OPTIONS.items():
        flag = vars(type(torch.backends.cudnn))[name]
        label = f"torch.backends.cudnn.{name}"
        yield set_all(flag, {"setter": _telling(flag.setter, label, set_without_effect, why)})


def take_back() -> None:
    """Leave torch as it was."""
    global _undo
    if _undo is not None:
        undo, _undo = _undo, None
        undo()


def _telling(own: Callable[..., Any], called: str, notice: Notice, why: str | None = None) -> Callable[..., Any]:
    @functools.wraps(own)
    def tell(*args: Any, **kwargs: Any) -> Any:
        answer = own(*args, **kwargs)
        if not torch.compiler.is_compiling():
            notice(called, args, answer if why is None else why)
        return answer

    return tell
