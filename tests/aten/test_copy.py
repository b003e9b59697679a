"""Copies between CUDA tensors: by memory where both lie in it alike, by the native kernel otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch.autograd import forward_ad

Make = Callable[[], tuple[torch.Tensor, torch.Tensor]]


def filled(*shape: int, dtype: torch.dtype = torch.float) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=dtype, device="cuda").view(shape)


PAIRS: dict[str, Make] = {
    "alike": lambda: (torch.zeros(3, 4, device="cuda"), filled(3, 4)),
    "large": lambda: (torch.zeros(1 << 20, device="cuda"), filled(1 << 20)),
    "channels last": lambda: (
        torch.zeros(2, 3, 4, 5, device="cuda").contiguous(memory_format=torch.channels_last),
        filled(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    ),
    "offset": lambda: (torch.zeros(8, device="cuda")[2:5], filled(9)[4:7]),
    "gaps": lambda: (torch.zeros(4, 6, device="cuda")[:, ::2], filled(4, 6)[:, ::2]),
    "other strides": lambda: (torch.zeros(4, 3, device="cuda"), filled(3, 4).t()),
    "other type": lambda: (torch.zeros(3, device="cuda"), filled(3, dtype=torch.long)),
    "broadcast": lambda: (torch.zeros(3, 4, device="cuda"), filled(4)),
    "empty": lambda: (torch.zeros(0, device="cuda"), filled(0)),
    "conjugate": lambda: (torch.zeros(3, dtype=torch.cfloat, device="cuda"), (filled(3) * 1j).conj()),
    "negative": lambda: (torch.zeros(3, device="cuda"), (filled(3) * 1j).conj().imag),
    "lazy clone": lambda: (torch.zeros(3, device="cuda")._lazy_clone(), filled(3)._lazy_clone()),
}


@pytest.mark.parametrize("name", PAIRS)
def test_values_version_and_neighbours(name: str) -> None:
    target, source = PAIRS[name]()
    expected = source.cpu().to(target.dtype).expand(target.shape)
    version, before = target._version, source.cpu()
    base = target._base
    assert target.copy_(source) is target
    assert torch.equal(target.cpu(), expected)
    assert torch.equal(source.cpu(), before)
    assert target._version == version + 1
    if base is not None:
        assert base.count_nonzero() == target.count_nonzero()


def test_overlap_of_one_memory() -> None:
    x = filled(6)
    assert x[:3].copy_(x[3:]).tolist() == [3, 4, 5]
    assert x.copy_(x) is x
    with pytest.raises(RuntimeError, match="unsupported operation: some elements of the input tensor"):
        x[:5].copy_(x[1:])


def test_gradient_and_lazy_source() -> None:
    source = filled(3).requires_grad_()
    target = torch.zeros(3, device="cuda") * 2
    target.copy_(source)
    (target * 3).sum().backward()
    assert source.grad.tolist() == [3, 3, 3]
    origin = filled(3)
    lazy = origin._lazy_clone()
    lazy.copy_(torch.ones(3, device="cuda"))
    assert (origin.tolist(), lazy.tolist()) == ([0, 1, 2], [1, 1, 1])


def test_between_devices_and_threads() -> None:
    threads = torch.get_num_threads()
    source = torch.randn(3_000_001)
    for count in (1, threads):
        torch.set_num_threads(count)
        there = torch.empty_like(source, device="cuda").copy_(source.cuda())
        assert torch.equal(there.cpu(), source)
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("every_warning")
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize(("source", "target"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_lost_imaginary_parts_are_told_once(source: str, target: str, dtype: torch.dtype) -> None:
    numbers = torch.tensor([1 + 2j, 3], dtype=dtype, device=source)
    with pytest.warns(UserWarning, match="Casting complex values to real discards the imaginary part") as caught:
        real = torch.empty(2, device=target).copy_(numbers)
    assert len(caught) == 1
    assert real.tolist() == [1, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.empty(2, dtype=torch.bool, device=target).copy_(numbers).tolist() == [True, True]
        torch.empty(0, device=target).copy_(numbers[:0])


def test_a_tangent_of_zeros_without_memory() -> None:
    with forward_ad.dual_level():
        signs = torch.sgn(forward_ad.make_dual(filled(3), filled(3)))
        tangent = forward_ad.unpack_dual(signs).tangent
        assert tangent.tolist() == [0, 0, 0]
