"""View operators write metadata only; they equal the CPU's in shape, strides and offset."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

VIEWS = {
    "as_strided": lambda x: x.as_strided((2, 2), (3, 1), 1),
    "view": lambda x: x.view(3, 4),
    "view_dtype": lambda x: x.view(torch.int32),
    "reshape": lambda x: x.t().t().reshape(2, 6),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "select": lambda x: x[1],
    "slice": lambda x: x[:, ::2],
    "transpose": lambda x: x.transpose(0, 1),
    "permute": lambda x: x.permute(1, 0),
    "expand": lambda x: x[None].expand(3, 4, 3),
    "squeeze": lambda x: x.unsqueeze(0).squeeze(),
    "diagonal": lambda x: x.diagonal(),
    "split": lambda x: x.split(2)[1],
    "movedim": lambda x: x.movedim(0, 1),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_equals_the_cpu_and_shares_memory(view: Callable[[torch.Tensor], torch.Tensor]) -> None:
    reference = torch.arange(12.0).view(4, 3).clone()
    base = reference.cuda()
    ours, expected = view(base), view(reference)
    assert ours.device == base.device
    assert (ours._base is base) == (expected._base is reference)
    assert (ours.shape, ours.stride(), ours.storage_offset()) == (
        expected.shape,
        expected.stride(),
        expected.storage_offset(),
    )
    assert torch.equal(ours.cpu(), expected)
    assert ours.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()


def test_complex_views() -> None:
    x = torch.arange(4.0, device="cuda").view(2, 2)
    y = torch.view_as_complex(x)
    y.mul_(2)
    assert x.tolist() == [[0.0, 2.0], [4.0, 6.0]]
    assert torch.view_as_real(y).data_ptr() == x.data_ptr()


def test_gradients_flow_through_views() -> None:
    x = torch.zeros(4, 3, device="cuda", requires_grad=True)
    y = x * 1
    y[1].fill_(5)
    y.t()[0, 2:].mul_(3)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0] * 3, [0.0] * 3, [3.0, 1.0, 1.0], [3.0, 1.0, 1.0]]


def test_errors_are_the_cpus() -> None:
    with pytest.raises(RuntimeError, match=r"shape '\[5\]' is invalid for input of size 4"):
        torch.zeros(4, device="cuda").view(5)
