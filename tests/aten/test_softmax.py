"""softmax and log_softmax of half tensors with float32 results."""

from __future__ import annotations

import pytest
import torch

FUNCTIONS = pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax], ids=["softmax", "log_softmax"])


@FUNCTIONS
def test_half_to_float(function: object) -> None:
    x = torch.randn(3, 4, dtype=torch.half)
    y = x.float().requires_grad_()
    there = x.cuda().requires_grad_()
    expected = function(y, 1)
    got = function(there, 1, dtype=torch.float32)
    assert got.dtype is torch.float32
    torch.testing.assert_close(got.cpu(), expected)
    expected.pow(2).sum().backward()
    got.pow(2).sum().backward()
    assert there.grad is not None
    assert y.grad is not None
    assert there.grad.dtype is torch.half
    torch.testing.assert_close(there.grad.cpu(), y.grad.half())


@FUNCTIONS
def test_under_autocast(function: object) -> None:
    x = torch.randn(3, 4, device="cuda", dtype=torch.half)
    with torch.autocast("cuda"):
        assert function(x, 0).dtype is torch.float32


def test_out() -> None:
    x = torch.randn(3, 4, device="cuda", dtype=torch.half)
    out = torch.empty(0, device="cuda")
    torch._C._VariableFunctions._softmax(x, 1, True, out=out)
    torch.testing.assert_close(out, torch.softmax(x.float(), 1))
    grad = torch.ones(3, 4, device="cuda")
    gradient = torch.empty(0, device="cuda", dtype=torch.half)
    torch.ops.aten._log_softmax_backward_data.out(grad, out.log(), 1, torch.half, out=gradient)
    torch.testing.assert_close(gradient, torch.ops.aten._log_softmax_backward_data(grad, out.log(), 1, torch.half))


def test_refusals() -> None:
    """The texts are those of aten/src/ATen/native/cuda/SoftMax.cu."""
    x = torch.randn(3, 4, device="cuda", dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match=r"^conversion is supported for Half type only"):
        torch._softmax(x, 0, True)
    with pytest.raises(RuntimeError, match=r"^expected input and grad types to match, or input to be at::Half"):
        torch.ops.aten._softmax_backward_data(x.float(), x.float(), 0, torch.bfloat16)
