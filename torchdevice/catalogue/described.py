"""What torch itself describes of its functions and modules: OpInfos and ModuleInfos, by public name."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def opinfos() -> dict[str, list[Any]]:
    """By public name of a function."""
    from torch.testing._internal import common_methods_invocations as methods

    # It puts the generator back after random operators, which would seem to draw nothing.
    vars(methods)["wrapper_set_seed"] = lambda function, *args, **kwargs: function(*args, **kwargs)
    found: dict[str, list[Any]] = {}
    for op in methods.op_db:
        for name in (op.name, *(alias.name for alias in op.aliases)):
            found.setdefault(f"torch.{name}", []).append(op)
    return found


def described(name: str) -> list[Any]:
    """The OpInfos of a function; of a method, or of a form in place, those of the function with its name."""
    if name in opinfos():
        return opinfos()[name]
    method = name.rpartition(".")[2].rstrip("_")
    if name.rpartition(".")[0] not in ("torch", "torch.Tensor", "torch.nn.functional"):
        return []
    places = ("torch.", "torch.linalg.", "torch.special.", "torch.fft.", "torch.nn.functional.")
    return next((opinfos()[place + method] for place in places if place + method in opinfos()), [])


@cache
def modules() -> dict[str, Any]:
    from torch.testing._internal.common_modules import module_db

    return {f"{info.module_cls.__module__}.{info.module_cls.__qualname__}": info for info in module_db}
