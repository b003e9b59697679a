"""Copies of arguments keep what operators can see of memory, and differences of every kind are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from conformance.operators.comparison import compare, normalise
from conformance.operators.observation import Trial, observe
from conformance.operators.replicas import OnHost, Replicas


def copied(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return Replicas("cuda").tree(tensors)


def test_views_of_one_storage_stay_so() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    one, other = copied(base.t(), base[1:, ::2])
    assert one._is_view()
    assert one._base is not None
    assert one.untyped_storage()._cdata == other.untyped_storage()._cdata
    assert (one.stride(), other.stride(), other.storage_offset()) == ((1, 4), (4, 2), 4)
    one.zero_()
    assert other.sum() == 0
    assert base.sum() == 66


def test_the_same_object_is_copied_once() -> None:
    tensor = torch.ones(2)
    one, other = copied(tensor, tensor)
    assert one is other


def test_conj_neg_and_zero_tensors() -> None:
    tensor = torch.randn(3, dtype=torch.complex64)
    conj, negative, zero = copied(tensor.conj(), tensor.conj().imag, torch._efficientzerotensor(3))
    assert conj.is_conj()
    assert negative.is_neg()
    assert zero._is_zerotensor()
    assert torch.equal(conj.cpu(), tensor.conj())
    assert torch.equal(negative.cpu(), tensor.conj().imag)


def test_leaves_devices_generators() -> None:
    replicas = Replicas("cuda")
    found = replicas.tree(
        {
            "grad": torch.ones(2, requires_grad=True),
            "parameter": torch.nn.Parameter(torch.ones(2)),
            "device": torch.device("cpu"),
            "name": "cpu",
            "generator": torch.Generator().manual_seed(3),
            "host": OnHost(torch.ones(1)),
            "slice": slice(0, torch.tensor(2)),
        }
    )
    assert found["grad"].is_leaf
    assert found["grad"].requires_grad
    assert isinstance(found["parameter"], torch.nn.Parameter)
    assert (found["device"], found["name"]) == (torch.device("cuda"), "cuda")
    assert found["generator"].device.type == "cuda"
    assert found["generator"].initial_seed() == 3
    assert found["host"].device.type == "cpu"
    assert found["slice"].stop.is_cuda


def checks(call: Callable[..., Any], *arguments: Any) -> list[str]:
    trial = Trial(0, "forward", call, arguments)
    findings, _ = compare(trial, observe(trial, "cpu"), observe(trial, "cuda"))
    return [finding.check for finding in findings]


def on_cuda(tensor: torch.Tensor, here: Any, there: Any) -> Any:
    return there if tensor.is_cuda else here


def fails(text: str, kind: type[Exception] = RuntimeError) -> None:
    raise kind(text)


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda one: one + 1, []),
        (lambda one: one + on_cuda(one, 1, 2), ["result values"]),
        (lambda one: (one + 1).to(on_cuda(one, torch.float32, torch.float64)), ["result dtype"]),
        (lambda one: on_cuda(one, one + 0, (one + 0).t().contiguous().t()), ["result is_view", "result strides"]),
        (lambda one: on_cuda(one, one.view(4), one.clone().view(4)), ["result shares"]),
        (lambda one: on_cuda(one, one, one.cpu()), ["result device", "result is_input", "result shares"]),
        (lambda one: one.mul_(on_cuda(one, 1, 2)), ["result values", "input values"]),
        (
            lambda one: on_cuda(one, lambda: one, lambda: one.zero_())(),
            ["result values", "input version", "input values"],
        ),
        (lambda one: on_cuda(one, lambda: one, lambda: fails("no"))(), ["raised"]),
        (lambda one: on_cuda(one, lambda: fails("no"), lambda: one)(), ["not raised"]),
        (lambda one: fails("no", on_cuda(one, RuntimeError, ValueError)), ["error type"]),
        (lambda one: fails(on_cuda(one, "a", "b")), ["error text"]),
        (lambda one: fails(f"on {one.device}"), []),
        (lambda one: fails("on cpu"), ["text"]),
        (lambda one: fails(on_cuda(one, "x", "the native backend")), ["text", "error text"]),
        (lambda one: torch.rand(1) * 0, ["generator", "result device"]),
        (lambda one: torch.rand(9, device=one.device), []),
        (lambda one: [one] * on_cuda(one, 1, 2), ["results"]),
    ],
)
def test_what_is_found(call: Callable[..., Any], found: list[str]) -> None:
    assert checks(call, torch.tensor([[0.0, 1.0], [2.0, 3.0]])) == found


def test_messages_compare_without_their_device() -> None:
    mine = "tensor([1.], device='cuda:0', grad_fn=<A>) CUDA torch.cuda.FloatTensor j12 at 0xff"
    assert normalise(mine) == normalise("tensor([1.], grad_fn=<B>) CPU torch.FloatTensor j13 at 0x1")
