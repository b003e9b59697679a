"""NVIDIA's libdevice, function by function, in NumPy and torch; for Triton's interpreter.

Results are computed in float64 and rounded once, so they are at most as far from the true ones as NVIDIA's documented
errors. Functions that name a direction of rounding are exact.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch

from torchdevice.patches.change import Undo, set_all
from torchdevice.patches.triton.floats import Array
from torchdevice.patches.triton.integers import (
    bits,
    high_half,
    low_24,
    permuted_bytes,
    popcount,
    reversed_bits,
    unsigned,
    wide,
)
from torchdevice.patches.triton.rounding import directed, to_float, to_integer

Function = Callable[..., Any]


def receive_builder(module: ModuleType) -> Undo:
    """Let the functions of a libdevice module work in interpreted kernels; returns the undo.

    They need what compiled kernels are given by the compiler. Those of triton.language.extra.libdevice are empty, and
    stand for those of the GPU's module.
    """
    own = (item for item in vars(module).items() if callable(item[1]))
    names = [name for name, value in own if getattr(value, "__module__", "") == module.__name__]
    return set_all(module, {name: _given_builder(module, name, getattr(module, name)) for name in names})


def _given_builder(module: ModuleType, name: str, function: Function) -> Function:
    @functools.wraps(function)
    def call_it(*arguments: Any, _semantic: Any = None) -> Any:
        from triton.language.extra.cuda import libdevice as cuda
        from triton.runtime import interpreter

        target = function if module is cuda else getattr(cuda, name)
        return target(*arguments, _semantic=_semantic or interpreter.interpreter_semantic)

    return call_it


def call(symbol: str, arguments: list[Array], result: np.dtype[Any]) -> Array:
    """Call the function that NVIDIA's library has under `symbol`.

    Raises:
        NotImplementedError: it is no function of libdevice.
    """
    name = symbol.removeprefix("__nv_")
    function = _find(name)
    if function is None:
        raise NotImplementedError(
            f"Triton's interpreter cannot run the extern function {symbol}: torchdevice has those of libdevice. "
            "Compute it from tl's operators, or in torch outside of the kernel."
        )
    with np.errstate(all="ignore"):
        return np.asarray(function(*np.broadcast_arrays(*arguments))).astype(result)


@functools.cache
def _find(name: str) -> Function | None:
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if match := re.fullmatch(r"[fd]?(add|sub|mul|div|rcp|sqrt|rsqrt|fmaf?)_(rn|rz|rd|ru)", name):
        return functools.partial(directed, match[1].removesuffix("f") if match[1] == "fmaf" else match[1], match[2])
    if match := re.fullmatch(r"(float|double)2(int|uint|ll|ull)_(rn|rz|rd|ru)", name):
        return functools.partial(to_integer, match[2], match[3])
    if match := re.fullmatch(r"(double|int|uint|ll|ull)2(float|double)_(rn|rz|rd|ru)", name):
        return functools.partial(to_float, np.float32 if match[2] == "float" else np.float64, match[3])
    plain = name.removeprefix("fast_").removesuffix("f")
    return _in_float64(FUNCTIONS[plain]) if plain in FUNCTIONS else None


def _in_float64(function: Function) -> Function:
    def wide(*arguments: Array) -> Any:
        return function(*(one.astype(np.float64) if one.dtype.kind == "f" else one for one in arguments))

    return wide


def _by_torch(function: Callable[[torch.Tensor], torch.Tensor]) -> Function:
    return lambda x: function(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def _each(function: Callable[..., Any]) -> Function:
    """A function of numbers, over arrays; NaN where it has no value."""

    def one(*numbers: Any) -> Any:
        try:
            return function(*numbers)
        except (ValueError, OverflowError, ZeroDivisionError):
            return math.nan

    return np.vectorize(one, otypes=[np.float64])


def _gamma(x: float) -> float:
    if x > 171.7:
        return math.inf
    return math.copysign(math.inf, x) if x == 0 else math.gamma(x)


def _bessel_j(order: Array, x: Array) -> Array:
    """By Bessel's integral: the trapezoidal rule converges at once, as the integrand is periodic."""

    def one(n: int, at: float) -> float:
        points = 64 + int(abs(n)) + 2 * int(min(abs(at), 1e4))
        angle = np.pi * (np.arange(points) + 0.5) / points
        return float(np.mean(np.cos(n * angle - at * np.sin(angle))))

    return np.asarray(_each(one)(order, x))


def _bessel_y(order: Array, x: Array) -> Array:
    """From the first two, upwards."""

    def one(n: int, at: float) -> float:
        before, now = (
            float(f(torch.tensor(at, dtype=torch.float64))) for f in (torch.special.bessel_y0, torch.special.bessel_y1)
        )
        if n == 0:
            return before
        for k in range(1, n):
            before, now = now, 2 * k / at * now - before
        return now

    return np.asarray(_each(one)(order, x))


def _round_half_away(x: Array) -> Array:
    return np.where(np.abs(x) < 2.0**52, np.copysign(np.floor(np.abs(x) + 0.5), x), x)


def _power_of_integer(x: Array, n: Array) -> Any:
    return np.power(x, n.astype(x.dtype))


def _hypotenuse(*sides: Array) -> Array:
    return np.asarray(functools.reduce(np.hypot, (one.astype(np.float64) for one in sides)))


#: By NVIDIA's name, of float64 where there is one of each; the rest is found by the shape of its name.
FUNCTIONS: dict[str, Function] = {
    "fabs": np.abs, "abs": np.abs, "llabs": np.abs, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "rint": np.rint, "nearbyint": np.rint, "llrint": np.rint, "round": _round_half_away, "llround": _round_half_away,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt, "rcbrt": lambda x: 1 / np.cbrt(x),
    "exp": np.exp, "exp2": np.exp2, "exp10": lambda x: np.power(10.0, x), "expm1": np.expm1,
    "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "atan2": np.arctan2,
    "sinpi": lambda x: np.sin(np.pi * np.fmod(x, 2.0)), "cospi": lambda x: np.cos(np.pi * np.fmod(x, 2.0)),
    "pow": np.power, "powi": _power_of_integer, "fmod": np.fmod, "remainder": _each(math.remainder),
    "fdim": lambda x, y: np.where(np.isnan(x) | np.isnan(y), np.nan, np.maximum(x - y, 0)),
    "fdivide": np.divide, "fma": lambda x, y, z: directed("fma", "rn", x, y, z),
    "fmaf": lambda x, y, z: directed("fma", "rn", x, y, z),
    "hypot": _hypotenuse, "rhypot": lambda *x: 1 / _hypotenuse(*x), "norm3d": _hypotenuse, "norm4d": _hypotenuse,
    "rnorm3d": lambda *x: 1 / _hypotenuse(*x), "rnorm4d": lambda *x: 1 / _hypotenuse(*x),
    "copysign": np.copysign, "nextafter": np.nextafter, "nextafterf": np.nextafter,
    "ldexp": np.ldexp, "scalbn": np.ldexp,
    "saturate": lambda x: np.where(np.isnan(x), 0, np.clip(x, 0, 1)),
    "logb": lambda x: np.where(x == 0, -np.inf, np.where(np.isinf(x), np.inf, np.frexp(x)[1] - 1.0 + 0 * x)),
    "ilogb": lambda x: np.where(np.isnan(x) | (x == 0), -(2**31), np.where(np.isinf(x), 2**31 - 1, np.frexp(x)[1] - 1)),
    "erf": _by_torch(torch.special.erf), "erfc": _by_torch(torch.special.erfc), "erfcx": _by_torch(torch.special.erfcx),
    "erfinv": _by_torch(torch.special.erfinv),
    "erfcinv": _by_torch(lambda x: -torch.special.ndtri(x / 2) / math.sqrt(2)),
    "normcdf": _by_torch(torch.special.ndtr), "normcdfinv": _by_torch(torch.special.ndtri),
    "lgamma": _by_torch(torch.special.gammaln), "tgamma": _each(_gamma),
    "j0": _by_torch(torch.special.bessel_j0), "j1": _by_torch(torch.special.bessel_j1), "jn": _bessel_j,
    "y0": _by_torch(torch.special.bessel_y0), "y1": _by_torch(torch.special.bessel_y1), "yn": _bessel_y,
    "cyl_bessel_i0": _by_torch(torch.special.i0), "cyl_bessel_i1": _by_torch(torch.special.i1),
    "rcp64h": lambda x: ((1 / x).view(np.uint64) & np.uint64(0xFFFFFFFF00000000)).view(np.float64),
    "isnanf": np.isnan, "isnand": np.isnan, "isinff": np.isinf, "isinfd": np.isinf, "finitef": np.isfinite,
    "isfinited": np.isfinite, "signbitf": np.signbit, "signbitd": np.signbit,
    "int_as_float": lambda x: x.view(np.float32), "uint_as_float": lambda x: x.view(np.float32),
    "float_as_int": lambda x: x.view(np.int32), "float_as_uint": lambda x: x.view(np.int32),
    "longlong_as_double": lambda x: x.view(np.float64), "double_as_longlong": lambda x: x.view(np.int64),
    "double2loint": lambda x: x.view(np.uint64).astype(np.uint32).view(np.int32),
    "double2hiint": lambda x: (x.view(np.uint64) >> np.uint64(32)).astype(np.uint32).view(np.int32),
    "hiloint2double": lambda high, low: (
        unsigned(high).astype(np.uint64) << np.uint64(32) | unsigned(low).astype(np.uint64)
    ).view(np.float64),
    "clz": bits(lambda n, width: width - n.bit_length()), "clzll": bits(lambda n, width: width - n.bit_length()),
    "ffs": bits(lambda n, _: (n & -n).bit_length()), "ffsll": bits(lambda n, _: (n & -n).bit_length()),
    "popc": popcount, "popcll": popcount,
    "brev": lambda x: bits(reversed_bits)(x).astype(np.uint32).view(np.int32),
    "brevll": lambda x: bits(reversed_bits)(x).view(np.int64),
    "byte_perm": wide(permuted_bytes),
    "mulhi": high_half(32), "umulhi": high_half(32), "mul64hi": high_half(64), "umul64hi": high_half(64),
    "mul24": wide(lambda a, b: low_24(a, True) * low_24(b, True)),
    "umul24": wide(lambda a, b: low_24(a, False) * low_24(b, False)),
    "sad": wide(lambda a, b, c: abs(a - b) + c), "usad": wide(lambda a, b, c: abs(a - b) + c),
    "hadd": wide(lambda a, b: (a + b) >> 1), "uhadd": wide(lambda a, b: (a + b) >> 1),
    "rhadd": wide(lambda a, b: (a + b + 1) >> 1), "urhadd": wide(lambda a, b: (a + b + 1) >> 1),
}  # fmt: skip
