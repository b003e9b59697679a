"""A dtype that a kernel does not know is reported with the name of CUDA's kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

CASES: dict[str, Callable[[str], object]] = {
    "frac": lambda device: torch.frac(torch.ones(2, dtype=torch.complex64, device=device)),
    "erf": lambda device: torch.erf(torch.ones(2, dtype=torch.complex64, device=device)),
    "maximum": lambda device: torch.maximum(*torch.ones(2, 3, dtype=torch.complex64, device=device)),
    "bitwise_and": lambda device: torch.bitwise_and(*torch.ones(2, 3, device=device)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_is_cudas(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError)) as native:  # since torch 2.15 some are of the second type
        CASES[name]("cpu")
    with pytest.raises((RuntimeError, TypeError)) as forwarded:
        CASES[name]("cuda")
    assert type(forwarded.value) is type(native.value)
    assert "cpu" not in str(forwarded.value)
    assert str(forwarded.value) == str(native.value).replace("cpu", "cuda")


def test_the_name_of_a_function_before_the_text() -> None:
    def message(device: str) -> str:
        x = torch.ones(1, 1, 0, 2, device=device)
        with pytest.raises(RuntimeError) as error:
            torch.ops.aten.max_unpool2d(x, x.long(), [2, 2])
        return str(error.value)

    assert message("cuda") == message("cpu").replace("_out_cpu", "_out_cuda") != message("cpu")


def test_other_texts_stay() -> None:
    def message(device: str) -> str:
        with pytest.raises(RuntimeError) as error:
            torch.ones(2, 3, device=device) @ torch.ones(2, 3, device=device)
        return str(error.value)

    assert message("cuda") == message("cpu")


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.half, "torch.cuda.HalfTensor"),
        (torch.bfloat16, "CUDABFloat16Type"),
        (torch.double, "torch.cuda.DoubleTensor"),
    ],
)
def test_types_of_a_convolution(dtype: torch.dtype, name: str) -> None:
    x, weight = torch.ones(1, 1, 4, 4, device="cuda", dtype=dtype), torch.ones(1, 1, 2, 2, device="cuda")
    with pytest.raises(RuntimeError) as error:
        torch.conv2d(x, weight)
    assert str(error.value) == f"Input type ({name}) and weight type (torch.cuda.FloatTensor) should be the same"
    with pytest.raises(RuntimeError) as error:
        torch.convolution(x, weight.to(dtype), weight[0, 0, 0, :1], [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    assert str(error.value) == f"Input type ({name}) and bias type (torch.cuda.FloatTensor) should be the same"
