"""Operators that exchange or watch a tensor's storage."""

from __future__ import annotations

import pytest
import torch


def test_set_from_storage_grows_it_when_needed() -> None:
    storage = torch.arange(4.0, device="cuda").untyped_storage()
    x = torch.empty(0, device="cuda").set_(storage, 2, (6,), (1,))
    assert storage.nbytes() == 32
    assert x[:2].tolist() == [2.0, 3.0]
    assert x.untyped_storage().device == torch.device("cuda:0")


def test_set_checks_its_arguments() -> None:
    storage = torch.arange(4.0, device="cuda").untyped_storage()
    with pytest.raises(RuntimeError, match="Tensor: invalid storage offset -1"):
        torch.empty(0, device="cuda").set_(storage, -1, (1,), (1,))
    with pytest.raises(RuntimeError, match="unequal size length"):
        torch.empty(0, device="cuda").set_(storage, 0, (2, 2), (1,))


def test_set_to_a_tensor_and_to_nothing() -> None:
    x, y = torch.ones(3, device="cuda"), torch.zeros(2, device="cuda")
    y.set_(x)
    assert y.is_set_to(x)
    assert y.set_().shape == (0,)
    assert x.tolist() == [1.0] * 3


def test_record_stream_accepts_every_cuda_tensor() -> None:
    stream = torch.cuda.Stream()
    x = torch.ones(4, device="cuda")
    x[1:].record_stream(stream)
    torch.empty(0, device="cuda").record_stream(stream)
    assert x.sum().item() == 4.0
