"""Arithmetic and conversions of NVIDIA's libdevice that name a direction of rounding; exact, by fractions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from torchdevice.patches.triton.floats import Array

Function = Callable[..., Any]

_EXACT: dict[str, Callable[..., Fraction]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "rcp": lambda a: 1 / a,
    "fma": lambda a, b, c: a * b + c,
}
_NEAREST: dict[str, Function] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "rcp": np.reciprocal, "sqrt": np.sqrt,
    "rsqrt": lambda a: 1 / np.sqrt(a), "fma": lambda a, b, c: a * b + c,
}  # fmt: skip


def directed(operation: str, direction: str, *arguments: Array) -> Array:
    kind = arguments[0].dtype.type
    nearest: Array = _NEAREST[operation](*(one.astype(np.float64) for one in arguments)).astype(kind)

    def one(near: Any, *numbers: float) -> Any:
        if not all(map(math.isfinite, (near, *numbers))):
            return near
        values = [Fraction(number) for number in numbers]
        if operation in ("sqrt", "rsqrt"):
            square = values[0] if operation == "sqrt" else 1 / values[0]
            return _settle(near, lambda candidate: Fraction(candidate) ** 2 - square, direction, kind)
        exact = _EXACT[operation](*values)
        # What cancels is far from what was rounded twice.
        return _settle(kind(float(exact)), lambda candidate: Fraction(candidate) - exact, direction, kind)

    columns = zip(nearest.ravel(), *(one.ravel().tolist() for one in arguments), strict=True)
    flat = [one(kind(near), *numbers) for near, *numbers in columns]
    result: Array = np.array(flat, dtype=kind)
    return result.reshape(nearest.shape)


def _settle(near: Any, error: Callable[[float], Fraction], direction: str, kind: type) -> Any:
    """The number in that direction from the exact one, which `near` is next to; `error` is a candidate's distance."""
    distance = error(float(near))
    if distance == 0:
        return near
    below = near if distance < 0 else np.nextafter(near, kind(-np.inf))
    above = near if distance > 0 else np.nextafter(near, kind(np.inf))
    if direction == "rn":
        if not (np.isfinite(below) and np.isfinite(above)):
            return near
        down, up = -error(float(below)), error(float(above))
        return near if down == up else below if down < up else above
    if direction == "rz":
        direction = "rd" if above > 0 else "ru"
    return below if direction == "rd" else above


_ROUND: dict[str, Function] = {"rn": np.rint, "rz": np.trunc, "rd": np.floor, "ru": np.ceil}
_INTEGERS: dict[str, type] = {"int": np.int32, "uint": np.uint32, "ll": np.int64, "ull": np.uint64}


def to_integer(kind: str, direction: str, x: Array) -> Array:
    """What is too large becomes the largest integer, and NaN zero."""
    limits = np.iinfo(_INTEGERS[kind])

    def one(number: float) -> int:
        if not math.isfinite(number):
            return 0 if math.isnan(number) else int(limits.max if number > 0 else limits.min)
        return max(int(limits.min), min(int(limits.max), int(number)))

    flat = [one(number) for number in _ROUND[direction](x.astype(np.float64)).ravel().tolist()]
    return np.array(flat, dtype=_INTEGERS[kind]).view(f"i{limits.bits // 8}").reshape(x.shape)


def to_float(kind: type, direction: str, x: Array) -> Array:
    nearest: Array = x.astype(kind)

    def one(near: Any, number: float) -> Any:
        if not math.isfinite(near) or not math.isfinite(number):
            return near
        return _settle(near, lambda candidate: Fraction(candidate) - Fraction(number), direction, kind)

    flat = [one(near, number) for near, number in zip(nearest.ravel(), x.ravel().tolist(), strict=True)]
    return np.array(flat, dtype=kind).reshape(x.shape)
