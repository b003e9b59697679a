"""Functions of NVIDIA's libdevice on integers, over arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from torchdevice.patches.triton.floats import Array

Function = Callable[..., Array]


def unsigned(x: Array) -> Array:
    return x.view(np.dtype(f"u{x.dtype.itemsize}"))


def popcount(x: Array) -> Array:
    return np.bitwise_count(unsigned(x)) if hasattr(np, "bitwise_count") else bits(lambda n, _: n.bit_count())(x)


def bits(function: Callable[[int, int], int]) -> Function:
    """A function of an unsigned number and its width."""

    def over(x: Array) -> Array:
        width = 8 * x.dtype.itemsize
        values = np.array([function(int(one), width) for one in unsigned(x).ravel()], dtype=np.uint64)
        return values.reshape(x.shape)

    return over


def reversed_bits(number: int, width: int) -> int:
    return int(f"{number:0{width}b}"[::-1], 2)


def wide(function: Callable[..., int]) -> Function:
    """A function of integers without a bound; the low bits of its result count."""

    def over(*arguments: Array) -> Array:
        kind = arguments[0].dtype
        mask = (1 << 8 * kind.itemsize) - 1
        flat = zip(*(one.ravel().tolist() for one in arguments), strict=True)
        values = np.array([function(*numbers) & mask for numbers in flat], dtype=np.uint64)
        return values.astype(unsigned(arguments[0]).dtype).view(kind).reshape(arguments[0].shape)

    return over


def high_half(width: int) -> Function:
    return wide(lambda a, b: (a * b) >> width)


def low_24(number: int, is_signed: bool) -> int:
    low = number & 0xFFFFFF
    return low - (1 << 24) if is_signed and low >> 23 else low


def permuted_bytes(x: int, y: int, selector: int) -> int:
    eight = (x & 0xFFFFFFFF) | (y & 0xFFFFFFFF) << 32
    return sum((eight >> 8 * (selector >> 4 * i & 7) & 0xFF) << 8 * i for i in range(4))
