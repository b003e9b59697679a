"""Tensors with a bit instead of work done: conj, neg and zero tensors on cuda."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

SameAsCpu = Callable[..., None]
Z = torch.complex(torch.arange(6.0).view(2, 3), torch.arange(6.0, 0, -1).view(2, 3))

CALLS: dict[str, Callable[[Tensor], Any]] = {
    "add": lambda x: x + 1,
    "matmul": lambda x: x @ x.mT,
    "matmul of the adjoint": lambda x: x.mH @ x,
    "sum": lambda x: (x.sum(0), x.abs(), x.angle()),
    "cat": lambda x: torch.cat([x, x.conj()]),
    "write": lambda x: x.clone().mul_(2).fill_diagonal_(1),
    "copy": lambda x: torch.empty_like(x).copy_(x),
    "index": lambda x: (
        x[:, [0, -1]],
        x[x.real > 1],
        x.gather(1, torch.zeros(2, 1, dtype=torch.long, device=x.device)),
    ),
    "resolve": lambda x: (x.resolve_conj().resolve_neg(), x.clone(), x.contiguous()),
    "parts": lambda x: torch.view_as_real(x.resolve_conj().resolve_neg() if x.is_complex() else torch.complex(x, x)),
    "foreach": lambda x: torch._foreach_mul([x, x], 2.0),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x.conj()),
    "linalg": lambda x: torch.linalg.vector_norm(x),
    "to double": lambda x: x.to(torch.complex128 if x.is_complex() else torch.float64),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "bits",
    [lambda z: z.conj(), lambda z: z.conj().imag, lambda z: torch._neg_view(z.conj()), lambda z: z.conj().t()[:2, :2]],
    ids=["conj", "neg", "both", "a view of conj"],
)
def test_lazy_tensors(bits: Callable[[Tensor], Tensor], call: Callable[[Tensor], Any], same_as_cpu: SameAsCpu) -> None:
    assert bits(Z.cuda()).is_conj() or bits(Z.cuda()).is_neg()
    same_as_cpu(lambda z: call(bits(z)), Z)


def test_a_write_through_a_lazy_view() -> None:
    z = torch.zeros(2, dtype=torch.complex64, device="cuda")
    z.conj().copy_(torch.tensor([1 + 2j, 3 + 4j]))
    z.conj().imag.add_(1)
    assert z.tolist() == [1 - 3j, 3 - 5j]


def test_bits_survive_moves() -> None:
    x = Z.cuda().conj()
    assert torch.equal(x.cpu(), Z.conj())
    assert torch.equal(Z.conj().cuda(), x)
    assert x.tolist() == Z.conj().tolist()
    assert x[0, 0].item() == -6j
    assert torch.equal(torch.from_numpy(x.cpu().resolve_conj().numpy()), Z.conj())


@pytest.mark.parametrize(
    "call",
    [
        lambda zero, x: zero + x,
        lambda zero, x: zero * x,
        lambda zero, x: zero.sum(0) + x[0],
        lambda zero, x: (zero.t().contiguous(), zero.clone(), zero.cpu().to(x.device)),
        lambda zero, x: torch.where(x > 0, x, zero),
        lambda zero, x: x.clone().add_(zero),
        lambda zero, x: zero @ x.t(),
    ],
    ids=["add", "mul", "sum", "copies", "where", "add_", "matmul"],
)
def test_zero_tensors(call: Callable[[Tensor, Tensor], Any], same_as_cpu: SameAsCpu) -> None:
    same_as_cpu(lambda x: call(torch._efficientzerotensor(2, 3, device=x.device), x), torch.randn(2, 3))


def test_a_zero_tensor_holds_no_memory_and_takes_no_writes() -> None:
    before = torch.cuda.memory_allocated()
    zero = torch._efficientzerotensor(1000, 1000, device="cuda")
    assert zero._is_zerotensor()
    assert torch.cuda.memory_allocated() == before
    with pytest.raises(RuntimeError, match="ZeroTensors are immutable"):
        zero.add_(1)


def test_forward_mode_fills_in_zero_tangents(same_as_cpu: SameAsCpu) -> None:
    """Where only one of two inputs has a tangent, autograd makes the other a zero tensor."""

    def tangent(x: Tensor) -> Tensor:
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
            return torch.autograd.forward_ad.unpack_dual(torch.cat([dual * x, x]).sin() @ x.t()).tangent

    same_as_cpu(tangent, torch.randn(2, 3))
