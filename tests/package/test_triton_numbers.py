"""The numbers and functions that Triton's interpreter is given, without Triton."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from torchdevice.patches.triton.floats import FORMATS, decode, encode, tf32
from torchdevice.patches.triton.libdevice import call

TYPES = {
    "bf16": torch.bfloat16,
    "fp8e5": torch.float8_e5m2,
    "fp8e4nv": torch.float8_e4m3fn,
    "fp8e4b8": torch.float8_e4m3fnuz,
    "fp8e5b16": torch.float8_e5m2fnuz,
}
F32, F64, I32, I64 = map(np.dtype, (np.float32, np.float64, np.int32, np.int64))


def bits_of(tensor: torch.Tensor, kind: type) -> Any:
    return tensor.view(torch.uint8).numpy().view(kind)


@pytest.mark.parametrize("name", TYPES)
def test_every_number_is_torchs(name: str) -> None:
    form = FORMATS[name]
    every = np.arange(np.iinfo(form.storage).max + 1).astype(form.storage)
    theirs = torch.from_numpy(every.view(np.uint8)).view(TYPES[name]).float().numpy()
    np.testing.assert_array_equal(decode(every, form), theirs)
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(encode(theirs[finite], form), every[finite])


@pytest.mark.parametrize("name", TYPES)
def test_rounding_is_torchs(name: str) -> None:
    form = FORMATS[name]
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(50_000) * 10 ** rng.uniform(-9, 3, 50_000)
    numbers = np.concatenate([numbers, np.arange(-600, 600) / 8, [0.0, -0.0]]).astype(np.float32)
    numbers = numbers[np.abs(numbers) <= form.largest]
    theirs = bits_of(torch.from_numpy(numbers).to(TYPES[name]), form.storage)
    np.testing.assert_array_equal(encode(numbers, form), theirs)


def test_what_float8_saturates_and_bfloat16_does_not() -> None:
    large = np.array([np.inf, -np.inf, 1e30, -1e30, np.nan])
    e4m3, e5m2, bf16 = (FORMATS[name] for name in ("fp8e4nv", "fp8e5", "bf16"))
    np.testing.assert_array_equal(decode(encode(large, e4m3), e4m3), [448, -448, 448, -448, np.nan])
    np.testing.assert_array_equal(decode(encode(large, e5m2), e5m2), [57344, -57344, 57344, -57344, np.nan])
    np.testing.assert_array_equal(decode(encode(np.array([3.4e38, np.inf]), bf16), bf16), [np.inf, np.inf])
    # As a GPU rounds: a carry, and ties to even.
    np.testing.assert_array_equal(decode(encode(np.array([127.66, 84.0]), e4m3), e4m3), [128, 80])
    np.testing.assert_array_equal(decode(encode(np.array([1.0039]), bf16, toward_zero=True), bf16), [1.0])


def test_tf32() -> None:
    numbers = np.array([1 + 2**-10, 1 + 2**-11, 1 + 2**-12, np.inf, np.nan], dtype=np.float32)
    np.testing.assert_array_equal(tf32(numbers), np.float32([1 + 2**-10, 1 + 2**-10, 1, np.inf, np.nan]))


POSITIVE = np.array([1e-3, 0.1, 0.5, 1.0, 1.5, 2.0, 7.25, 30.0])
SIGNED = np.concatenate([-POSITIVE, POSITIVE])
SMALL = np.array([-0.99, -0.5, -1e-3, 1e-3, 0.25, 0.99])
UNARY: dict[str, tuple[Any, Callable[[torch.Tensor], torch.Tensor]]] = {
    **{name: (SIGNED, getattr(torch, name)) for name in (
        "floor", "ceil", "trunc", "exp", "exp2", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan", "asinh",
        "erf", "erfc",
    )},
    **{name: (POSITIVE, getattr(torch, name)) for name in ("sqrt", "rsqrt", "log", "log2", "log10", "log1p", "lgamma")},
    **{name: (SMALL, getattr(torch, name)) for name in ("asin", "acos", "atanh", "erfinv")},
    "acosh": (POSITIVE + 1, torch.acosh), "fabs": (SIGNED, torch.abs), "rint": (SIGNED, torch.round),
    "nearbyint": (SIGNED, torch.round), "cbrt": (SIGNED, lambda x: x.sign() * x.abs().pow(1 / 3)),
    "rcbrt": (SIGNED, lambda x: x.sign() * x.abs().pow(-1 / 3)), "exp10": (SMALL, lambda x: 10**x),
    "sinpi": (SMALL, lambda x: torch.sin(math.pi * x)), "cospi": (SMALL, lambda x: torch.cos(math.pi * x)),
    "erfcx": (POSITIVE, torch.special.erfcx), "erfcinv": (POSITIVE[:4], lambda x: torch.erfinv(1 - x)),
    "normcdf": (SIGNED, torch.special.ndtr), "normcdfinv": (POSITIVE[:3], torch.special.ndtri),
    "tgamma": (POSITIVE, lambda x: x.lgamma().exp()), "j0": (SIGNED, torch.special.bessel_j0),
    "j1": (SIGNED, torch.special.bessel_j1), "y0": (POSITIVE, torch.special.bessel_y0),
    "y1": (POSITIVE, torch.special.bessel_y1), "cyl_bessel_i0": (SIGNED, torch.special.i0),
    "cyl_bessel_i1": (SIGNED, torch.special.i1), "logb": (SIGNED, lambda x: x.abs().log2().floor()),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("kind", [F32, F64], ids=str)
def test_functions_of_one_number(name: str, kind: np.dtype[Any]) -> None:
    numbers, reference = UNARY[name]
    x = numbers.astype(kind)
    symbol = f"__nv_{name}f" if kind == F32 and name != "fabs" else f"__nv_{name}"
    expected = reference(torch.from_numpy(x.astype(np.float64))).numpy()
    rtol = 2e-7 if kind == F32 else 1e-12
    np.testing.assert_allclose(call(symbol, [x], kind), expected.astype(kind), rtol=rtol, atol=rtol)


BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "atan2": torch.atan2, "hypot": torch.hypot, "copysign": torch.copysign, "fmod": torch.fmod,
    "nextafter": torch.nextafter, "rhypot": lambda x, y: 1 / torch.hypot(x, y),
    "fdim": lambda x, y: (x - y).clamp_min(0), "pow": torch.pow,
    "remainder": lambda x, y: x - y * torch.round(x / y),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_numbers(name: str) -> None:
    x = POSITIVE if name == "pow" else SIGNED
    y = np.resize([0.7, 3.0, -2.0, 1.25, 0.4], x.shape)
    expected = BINARY[name](torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(call(f"__nv_{name}", [x, y], F64), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("symbol", "arguments", "expected"),
    [
        ("clz", [1, 0, -1], [31, 32, 0]),
        ("popc", [7, -1, 0], [3, 32, 0]),
        ("ffs", [8, 0, -2], [4, 0, 2]),
        ("brev", [1, 0], [-(2**31), 0]),
        ("abs", [-5, 5], [5, 5]),
        ("float_as_int", np.float32([1.0, -2.0]), [0x3F800000, -(2**30)]),
        ("isnanf", np.float32([1.0, np.nan]), [0, 1]),
        ("isinff", np.float32([np.inf, np.nan]), [1, 0]),
        ("finitef", np.float32([np.inf, 3.0]), [0, 1]),
        ("signbitf", np.float32([-0.0, 3.0]), [1, 0]),
        ("ilogbf", np.float32([8.0, 0.75]), [3, -1]),
        ("float2int_rz", np.float32([2.9, -2.9, 1e20, np.nan]), [2, -2, 2**31 - 1, 0]),
        ("float2int_rd", np.float32([-2.1]), [-3]),
        ("float2int_ru", np.float32([2.1]), [3]),
        ("float2int_rn", np.float32([2.5, 3.5]), [2, 4]),
        ("float2uint_rz", np.float32([-3.0, 4e9]), [0, 4_000_000_000 - 2**32]),
        ("double2hiint", np.float64([1.0]), [0x3FF00000]),
        ("double2loint", np.float64([1.0 + 2**-52]), [1]),
    ],
)
def test_integers(symbol: str, arguments: Any, expected: list[int]) -> None:
    x = arguments if isinstance(arguments, np.ndarray) else np.array(arguments, dtype=np.int32)
    assert call(f"__nv_{symbol}", [x], I32).tolist() == expected


def test_functions_of_several_integers() -> None:
    def both(symbol: str, *numbers: int) -> int:
        return int(call(f"__nv_{symbol}", [np.array([one], dtype=np.int32) for one in numbers], I32)[0])

    assert both("mulhi", 2**30, 12) == 3
    assert both("mulhi", -(2**30), 12) == -3
    assert both("mul24", 0x800001, 2) == 2 * (0x800001 - 2**24)
    assert both("umul24", 0x7000001, 3) == 0x3000003 - 0x3000000 + 0
    assert both("byte_perm", 0x33221100, 0x77665544, 0x7531) == 0x77553311
    assert both("sad", -3, 4, 10) == 17
    assert both("hadd", 5, 8) == 6
    assert both("rhadd", 5, 8) == 7
    high = call("__nv_mul64hi", [np.array([2**40]), np.array([2**40])], I64)
    assert high.tolist() == [2**16]
    doubled = call("__nv_hiloint2double", [np.array([0x3FF00000], np.int32), np.array([0], np.int32)], F64)
    assert doubled.tolist() == [1.0]


@pytest.mark.parametrize("kind", [F32, F64], ids=str)
def test_directed_rounding(kind: np.dtype[Any]) -> None:
    letter = "f" if kind == F32 else "d"
    one, three = np.array([1.0, -1.0], kind), np.array([3.0, 3.0], kind)
    third = (one / three).astype(kind)
    down, up, nearest, zero = (
        call(f"__nv_{letter}div_{direction}", [one, three], kind) for direction in ("rd", "ru", "rn", "rz")
    )
    assert (down < up).all()
    assert (np.nextafter(down, kind.type(np.inf)) == up).all()
    np.testing.assert_array_equal(nearest, third)
    np.testing.assert_array_equal(zero, [down[0], up[1]])
    exact = call(f"__nv_{letter}add_ru", [one, three], kind)
    np.testing.assert_array_equal(exact, [4.0, 2.0])
    tiny = np.array([1e-30, -1e-30], kind)
    above = call(f"__nv_{letter}add_ru", [one, tiny], kind)
    np.testing.assert_array_equal(above, [np.nextafter(kind.type(1), kind.type(2)), -1.0])
    root = call(f"__nv_{letter}sqrt_rd", [np.array([2.0], kind)], kind)
    assert root[0].astype(np.longdouble) ** 2 < 2 < np.nextafter(root, kind.type(9))[0].astype(np.longdouble) ** 2
    name = "fmaf_rn" if kind == F32 else "fma_rn"
    e = kind.type(np.finfo(kind).eps)
    fused = call(f"__nv_{name}", [np.array([1 + e]), np.array([1 + e]), np.array([-1 - 2 * e])], kind)
    np.testing.assert_array_equal(fused, [e * e])


def test_bessel_functions_of_any_order() -> None:
    x = np.array([0.5, 2.0, 10.0])
    n = np.array([2, 3, 4], dtype=np.int32)
    np.testing.assert_allclose(
        call("__nv_jn", [n, x], F64), [0.030604023458682643, 0.12894324947440205, -0.21960268610200864]
    )
    np.testing.assert_allclose(
        call("__nv_yn", [n, x], F64), [-5.441370837174273, -1.1277837768404277, -0.14494951186809374]
    )


def test_a_function_that_there_is_not() -> None:
    with pytest.raises(NotImplementedError) as caught:
        call("my_function", [SIGNED], F64)
    assert str(caught.value) == (
        "Triton's interpreter cannot run the extern function my_function: torchdevice has those of libdevice. Compute "
        "it from tl's operators, or in torch outside of the kernel."
    )
