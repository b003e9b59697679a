"""Integers divided by zero: on a GPU there is no error, and the numbers are those of torch's own test
test_binary_ufuncs.py, test_fmod_remainder_by_zero_integral."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

REMAINDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "remainder": torch.remainder,
    "fmod": torch.fmod,
    "remainder_": lambda x, y: x.clone().remainder_(y),
    "fmod_": lambda x, y: x.clone().fmod_(y),
    "out": lambda x, y: torch.remainder(x, y, out=torch.empty_like(x)),
}
QUOTIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "floor_divide": lambda x, y: x // y,
    "floor_divide_": lambda x, y: x.clone().floor_divide_(y),
    "floor": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "trunc": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
    "trunc_": lambda x, y: x.clone().div_(y, rounding_mode="trunc"),
}
INTEGERS = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8]


def operands(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x = torch.tensor([-7, 0, 5, 7] if dtype.is_signed else [9, 0, 5, 7], dtype=dtype, device="cuda")
    return x, torch.tensor([0, 0, 0, 2], dtype=dtype, device="cuda")


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", REMAINDERS)
def test_remainders(name: str, dtype: torch.dtype) -> None:
    x, y = operands(dtype)
    ones = -1 if dtype.is_signed else 255
    expected = [ones, 0xFFFFFFFF, 0xFFFFFFFF] if dtype is torch.int64 else [ones] * 3
    result = REMAINDERS[name](x, y)
    assert result.dtype is dtype
    assert result.tolist() == [*expected, 1]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", QUOTIENTS)
def test_quotients(name: str, dtype: torch.dtype) -> None:
    x, y = operands(dtype)
    result = QUOTIENTS[name](x, y)
    assert result.dtype is dtype
    assert result.tolist() == [-1 if dtype.is_signed else 255] * 3 + [3]


def test_numbers() -> None:
    x, y = operands(torch.int32)
    assert (x % 0).tolist() == (x // 0).tolist() == [-1] * 4
    assert (5 % y).tolist() == [-1, -1, -1, 1]
    assert (5 // y).tolist() == [-1, -1, -1, 2]
    assert (x // torch.tensor(0)).tolist() == [-1] * 4
    x %= 4
    assert x.tolist() == [1, 0, 1, 3]


def test_a_mask_over_the_quotients() -> None:
    x, y = operands(torch.int64)
    assert torch.where(y > 0, x // y, 0).tolist() == [0, 0, 0, 3]


def test_divisions_of_other_numbers_stay() -> None:
    x, y = operands(torch.int32)
    assert (x / y).tolist()[3] == 3.5
    assert x.div(y, rounding_mode=None)[0].isinf()
    assert (x.double() // y)[0].isinf()
    with pytest.raises(RuntimeError, match="result type Float can't be cast"):
        x.div_(y, rounding_mode=None)


def test_devices_that_differ(run_python: Callable[..., object]) -> None:
    run_python(
        """
        import torch
        x = torch.tensor([4, 5], device="cuda:0")
        for y in (torch.tensor([0, 2], device="cuda:1"), torch.tensor([0, 2])):
            for divide in (x.floor_divide, x.floor_divide_, x.remainder, x.remainder_):
                try:
                    divide(y)
                except RuntimeError as error:
                    assert "Expected all tensors to be on the same device" in str(error), error
                else:
                    raise SystemExit(f"{divide} of {y}")
        assert x.tolist() == [4, 5]
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_sizes_that_differ() -> None:
    x, _ = operands(torch.int32)
    with pytest.raises(RuntimeError, match=r"The size of tensor a \(4\) must match the size of tensor b \(3\)"):
        x.remainder_(x.new_zeros(3))
