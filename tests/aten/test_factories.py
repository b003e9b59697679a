"""Factories put tensors where they are told to, with CUDA's errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

CUDA = torch.device("cuda:0")


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: torch.empty(2, 3, **k),
        lambda **k: torch.empty_strided((2, 3), (1, 2), **k),
        lambda **k: torch.zeros(2, 3, **k),
        lambda **k: torch.full((2, 3), 7, **k),
        lambda **k: torch.arange(6, **k),
        lambda **k: torch.linspace(0, 1, 5, **k),
        lambda **k: torch.eye(3, **k),
        lambda **k: torch.tril_indices(3, 3, **k),
        lambda **k: torch.tensor([[1, 2]], **k),
        lambda **k: torch.hann_window(8, **k),
        lambda **k: torch.rand(2, **k),
        lambda **k: torch.randn(2, **k),
        lambda **k: torch.randint(10, (2,), **k),
        lambda **k: torch.randperm(5, **k),
        lambda **k: torch.normal(0.0, 1.0, (2,), **k),
        lambda **k: torch.fft.fftfreq(5, **k),
        lambda **k: torch._efficientzerotensor((2,), **k),
    ],
)
def test_device_argument(make: Callable[..., torch.Tensor]) -> None:
    ours, reference = make(device="cuda"), make(device="cpu")
    assert ours.device == CUDA
    assert ours.shape == reference.shape
    assert ours.dtype == reference.dtype
    assert ours.stride() == reference.stride()


def test_like_factories() -> None:
    x = torch.ones(2, 3, device="cuda", dtype=torch.float64)
    for y in (torch.empty_like(x), torch.rand_like(x), x.new_zeros(2), x.new_tensor([1]), torch.full_like(x, 3)):
        assert y.device == CUDA
        assert y.dtype == torch.float64
    assert torch.zeros_like(x, device="cpu").device.type == "cpu"
    assert torch.zeros_like(torch.ones(2), device="cuda").device == CUDA


def test_memory_formats() -> None:
    x = torch.empty(2, 3, 4, 5, device="cuda", memory_format=torch.channels_last)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert (x + 1).is_contiguous(memory_format=torch.channels_last)


def test_default_device() -> None:
    torch.set_default_device("cuda")
    try:
        assert torch.ones(2).device == CUDA
        assert torch.nn.Linear(2, 2).weight.device == CUDA
    finally:
        torch.set_default_device(None)
    with torch.device("cuda"):
        assert torch.zeros(1).device == CUDA
    assert torch.zeros(1).device.type == "cpu"


def test_pinning_is_for_cpu_tensors() -> None:
    with pytest.raises(RuntimeError, match="Only dense CPU tensors can be pinned"):
        torch.empty(2, device="cuda", pin_memory=True)


@pytest.mark.parametrize("ordinal", [1, 7])
def test_invalid_ordinal(ordinal: int) -> None:
    with pytest.raises(torch.AcceleratorError, match="CUDA error: invalid device ordinal"):
        torch.ones(1, device=f"cuda:{ordinal}")


def test_deterministic_fill_of_uninitialized_memory() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3, device="cuda").isnan().all()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_jagged_layout_is_taken_for_a_strided_one(device: str) -> None:
    like = torch.ones(2, 2, device=device)
    for made in (
        torch.zeros(2, 2, layout=torch.jagged, device=device),
        torch.empty_strided((2, 2), (2, 1), layout=torch.jagged, device=device),
        like.new_empty((2, 2), layout=torch.jagged),
    ):
        assert (made.shape, made.layout, made.device) == (like.shape, torch.strided, like.device)


def test_negative_size_raises_as_on_the_cpu() -> None:
    with pytest.raises(RuntimeError, match="Trying to create tensor with negative dimension -1"):
        torch.empty(-1, device="cuda")
