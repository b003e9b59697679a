"""Differentiation on cuda equals the CPU's: backward, hooks, double backward, custom functions, threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint


def model(device: str) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    return net.to(device), torch.randn(5, 1, 8, 8).to(device)


def test_backward_equals_the_cpus() -> None:
    gradients = {}
    for device in ("cpu", "cuda"):
        net, x = model(device)
        net(x).square().mean().backward()
        gradients[device] = [p.grad.cpu() for p in net.parameters()]
    for ours, reference in zip(gradients["cuda"], gradients["cpu"], strict=True):
        torch.testing.assert_close(ours, reference)


def test_hooks_see_cuda_gradients() -> None:
    seen: list[torch.device] = []
    x = torch.ones(3, device="cuda", requires_grad=True)
    x.register_hook(lambda grad: (seen.append(grad.device), grad * 2)[1])  # type: ignore[func-returns-value]
    y = x * 3
    y.register_hook(lambda grad: seen.append(grad.device))
    y.sum().backward()
    assert [device.type for device in seen] == ["cuda", "cuda"]
    assert x.grad is not None
    assert x.grad.tolist() == [6.0] * 3


def test_double_backward() -> None:
    x = torch.full((2,), 3.0, device="cuda", requires_grad=True)
    (gradient,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    gradient.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [18.0, 18.0]


def test_gradcheck() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, device="cuda", requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: torch.nn.functional.softmax(t, 1) @ t.t(), x)
    assert torch.autograd.gradgradcheck(lambda t: t.tanh().prod(1), x)


def test_custom_function() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            assert x.is_cuda
            assert grad.is_cuda
            return grad * 2

    x = torch.ones(2, device="cuda", requires_grad=True)
    Twice.apply(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]


def test_in_place_modification_of_a_saved_tensor_is_noticed() -> None:
    x = torch.ones(2, device="cuda", requires_grad=True)
    y = x.exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_forward_mode_and_function_transforms() -> None:
    x = torch.arange(3.0, device="cuda")
    value, tangent = torch.func.jvp(torch.sin, (x,), (torch.ones_like(x),))  # type: ignore[misc]
    torch.testing.assert_close(tangent, x.cos())
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(lambda t: t.sin()))(x), x.cos())
    assert value.is_cuda


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint_replays_the_same_random_numbers(reentrant: bool) -> None:
    x = torch.ones(1000, device="cuda", requires_grad=True)
    y = checkpoint(lambda t: torch.nn.functional.dropout(t, 0.5), x, use_reentrant=reentrant)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_backward_from_several_threads() -> None:
    weight = torch.ones(8, device="cuda", requires_grad=True)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                (weight * 2).sum().backward()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert weight.grad is not None
    assert weight.grad.tolist() == [160.0] * 8


def test_cpu_and_cuda_in_one_graph() -> None:
    a = torch.ones(2, requires_grad=True)
    b = torch.ones(2, device="cuda", requires_grad=True)
    ((a.cuda() * b).cpu() * a).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == [2.0, 2.0]
    assert b.grad.device.type == "cuda"


def test_traced_convolutions_depend_on_their_input() -> None:
    """torch.jit.trace leaves out aten::convolution and records what that is composed of."""
    for module, x in (
        (torch.nn.Conv2d(3, 4, 3), torch.randn(1, 3, 6, 6)),
        (torch.nn.ConvTranspose2d(3, 4, 3), torch.randn(1, 3, 6, 6)),
        (torch.nn.Conv1d(3, 4, 3), torch.randn(1, 3, 9)),
    ):
        module.cuda()
        traced = torch.jit.trace(module, x.cuda())
        torch.testing.assert_close(traced(x.cuda() * 2), module(x.cuda() * 2), rtol=0, atol=0)
