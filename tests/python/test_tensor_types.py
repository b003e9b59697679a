"""torch.cuda.FloatTensor(...) and torch.set_default_tensor_type() for CUDA's tensor types."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conftest import RunPython

CUDA = torch.device("cuda:0")

TYPES = {
    torch.cuda.FloatTensor: torch.float32,
    torch.cuda.DoubleTensor: torch.float64,
    torch.cuda.HalfTensor: torch.float16,
    torch.cuda.BFloat16Tensor: torch.bfloat16,
    torch.cuda.ByteTensor: torch.uint8,
    torch.cuda.CharTensor: torch.int8,
    torch.cuda.ShortTensor: torch.int16,
    torch.cuda.IntTensor: torch.int32,
    torch.cuda.LongTensor: torch.int64,
    torch.cuda.BoolTensor: torch.bool,
}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_construction(kind: Any) -> None:
    x = kind(2, 3)
    assert x.shape == (2, 3)
    assert x.dtype == TYPES[kind]
    assert x.device == CUDA
    assert type(x) is torch.Tensor
    assert isinstance(x, kind)
    assert not isinstance(x.cpu(), kind)
    assert x.type() == f"torch.cuda.{kind.__name__}"
    assert kind([1, 0]).tolist() == [1, 0]
    assert kind().numel() == 0
    assert kind.is_cuda
    assert x.cpu().type(kind).device == CUDA


def test_construction_from_storage_and_tensor() -> None:
    x = torch.ones(3, device="cuda")
    assert torch.cuda.FloatTensor(x).data_ptr() == x.data_ptr()
    assert torch.cuda.FloatTensor(x.untyped_storage()).tolist() == [1.0] * 3
    assert torch.cuda.FloatTensor(2, device="cuda").shape == (2,)
    with pytest.raises(
        RuntimeError, match=r"legacy constructor expects device type: cuda but device type: cpu was passed"
    ):
        torch.cuda.FloatTensor(2, device="cpu")


def test_the_constructor_warns_as_cuda(run_python: RunPython) -> None:
    process = run_python("import torch; torch.cuda.FloatTensor(2)")
    assert "The torch.cuda.*DtypeTensor constructors are no longer recommended." in process.stderr


def test_cpu_types_are_untouched() -> None:
    assert torch.FloatTensor([1, 2]).device.type == "cpu"
    assert not torch.FloatTensor.is_cuda


DEFAULT = """
    import torch
    {setting}
    assert torch.ones(2).device == torch.device("cuda:0")
    assert torch.tensor([1.0]).type() == "torch.cuda.{name}"
    assert torch.nn.Linear(2, 2).weight.is_cuda
    assert torch.Tensor(3).device == torch.device("cuda:0")
    assert torch.get_default_dtype() == torch.{dtype}
    assert torch.cuda.FloatTensor.is_cuda and torch.cuda.DoubleTensor.is_cuda
    torch.set_default_tensor_type(torch.FloatTensor)
    assert torch.ones(2).device.type == "cpu"
"""


@pytest.mark.parametrize(
    ("setting", "name", "dtype"),
    [
        ("torch.set_default_tensor_type(torch.cuda.FloatTensor)", "FloatTensor", "float32"),
        ("torch.set_default_tensor_type('torch.cuda.DoubleTensor')", "DoubleTensor", "float64"),
    ],
)
def test_default_tensor_type(run_python: RunPython, setting: str, name: str, dtype: str) -> None:
    run_python(DEFAULT.format(setting=setting, name=name, dtype=dtype))


def test_bad_default_tensor_types() -> None:
    with pytest.raises(TypeError, match=r"only floating-point types are supported as the default type"):
        torch.set_default_tensor_type(torch.cuda.LongTensor)
    assert torch.cuda.LongTensor.is_cuda
    with pytest.raises(TypeError, match=r"invalid type object"):
        torch._C._set_default_tensor_type(int)
    assert torch.ones(1).device.type == "cpu"
