"""The floating-point types that NumPy lacks, as Triton's interpreter keeps them: their bits in unsigned integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Format:
    """A type with one sign bit, the rest divided into exponent and mantissa."""

    storage: type[np.unsignedinteger[Any]]
    mantissa: int  #: bits
    bias: int
    largest: float  #: finite number
    infinity: int | None = None  #: its bits
    saturates: bool = True  #: what is too large becomes the largest number, as in NVIDIA's conversions to 8 bits
    nan: int | None = None  #: bits, without the sign
    one_zero: bool = False  #: the bits of a negative zero are NaN

    @property
    def sign(self) -> int:
        return 1 << (8 * np.dtype(self.storage).itemsize - 1)


#: By Triton's name of the type.
FORMATS = {
    "bf16": Format(np.uint16, 7, 127, float.fromhex("0x1.fep127"), infinity=0x7F80, saturates=False, nan=0x7FFF),
    "fp8e5": Format(np.uint8, 2, 15, 57344.0, infinity=0x7C, nan=0x7F),
    "fp8e4nv": Format(np.uint8, 3, 7, 448.0, nan=0x7F),
    "fp8e4b15": Format(np.uint8, 3, 15, 1.875),
    "fp8e4b8": Format(np.uint8, 3, 8, 240.0, nan=0x80, one_zero=True),
    "fp8e5b16": Format(np.uint8, 2, 16, 57344.0, nan=0x80, one_zero=True),
}


def decode(bits: Array, form: Format) -> Array:
    """The numbers, in float32, which has all of them."""
    whole = bits.astype(np.int64)
    magnitude = whole & (form.sign - 1)
    exponent = magnitude >> form.mantissa
    fraction = magnitude & ((1 << form.mantissa) - 1)
    steps = np.where(exponent > 0, fraction + (1 << form.mantissa), fraction)
    numbers = np.ldexp(steps.astype(np.float64), np.maximum(exponent, 1) - form.bias - form.mantissa)
    if form.infinity is not None:
        numbers = np.where(magnitude == form.infinity, np.inf, np.where(magnitude > form.infinity, np.nan, numbers))
    numbers = np.where(whole & form.sign, -numbers, numbers)
    if form.one_zero:
        numbers = np.where(whole == form.sign, np.nan, numbers)
    elif form.nan is not None and form.infinity is None:
        numbers = np.where(magnitude == form.nan, np.nan, numbers)
    return np.asarray(numbers, dtype=np.float32)


def encode(numbers: Array, form: Format, toward_zero: bool = False) -> Array:
    """The bits of what numbers are rounded to: to nearest, ties to even, once."""
    values = numbers.astype(np.float64)
    magnitude = np.abs(values)
    finite = np.where(np.isfinite(magnitude), magnitude, 0.0)
    _, exponent = np.frexp(finite)
    exponent = np.where(finite > 0, np.maximum(exponent - 1, 1 - form.bias), 1 - form.bias)
    scaled = np.ldexp(finite, form.mantissa - exponent)
    # A carry out of the mantissa goes to the exponent beside it.
    steps = (np.floor(scaled) if toward_zero else np.rint(scaled)).astype(np.int64)
    bits = steps + ((exponent.astype(np.int64) + form.bias - 1) << form.mantissa)
    largest = _bits_of(form.largest, form)
    infinity = largest if form.saturates or form.infinity is None else form.infinity
    bits = np.where(bits > largest, largest if toward_zero else infinity, bits)
    bits = np.where(np.isinf(magnitude), infinity, bits)
    bits = np.where(np.signbit(values) & ~(form.one_zero & (bits == 0)), bits | form.sign, bits)
    if form.nan is not None:
        bits = np.where(np.isnan(values), form.nan, bits)
    return bits.astype(form.storage)


def _bits_of(number: float, form: Format) -> int:
    """Of a positive number that the type has, and that is not subnormal."""
    fraction, exponent = np.frexp(number)
    return int(fraction * 2 ** (form.mantissa + 1)) + ((int(exponent) + form.bias - 2) << form.mantissa)


def tf32(numbers: Array) -> Array:
    """Float32 numbers as a GPU's tensor cores take them: ten bits of mantissa, ties away from zero."""
    bits = numbers.astype(np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(numbers), rounded, numbers)
