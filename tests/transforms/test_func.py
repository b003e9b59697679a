"""torch.func on cuda: vmap, the derivatives, functionalize, and what they are made into together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, functionalize, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

SameAsCpu = Callable[..., None]
F = torch.nn.functional


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def smooth(x: Tensor) -> Tensor:
    """A scalar with derivatives of every order."""
    return (x.sin() * x.flip(0)).cumsum(0).square().sum()


def curve(x: Tensor) -> Tensor:
    """As many values as `x` has."""
    return x.tanh() * x.roll(1) + x.mean()


@pytest.mark.parametrize(
    "derivative",
    [
        grad(smooth),
        jacrev(curve),
        jacfwd(curve),
        hessian(smooth),
        jacfwd(jacfwd(smooth)),
        jacrev(curve, chunk_size=2),
        lambda x: jvp(curve, (x,), (x.cos(),)),
        lambda x: vjp(curve, x)[1](x.cos()),
        lambda x: linearize(curve, x)[1](x.cos()),
        lambda x: vmap(grad(smooth))(x.expand(3, -1) * torch.arange(3, device=x.device)[:, None]),
        lambda x: torch.autograd.functional.jacobian(curve, x, strategy="forward-mode", vectorize=True),
        lambda x: torch.autograd.functional.hessian(smooth, x, vectorize=True),
        lambda x: torch.autograd.functional.hvp(smooth, x, x.cos()),
    ],
    ids=[
        "grad",
        "jacrev",
        "jacfwd",
        "hessian",
        "forward over forward",
        "jacrev in chunks",
        "jvp",
        "vjp",
        "linearize",
        "vmap of grad",
        "functional.jacobian",
        "functional.hessian",
        "functional.hvp",
    ],
)
def test_derivatives(derivative: Callable[[Tensor], Any], same_as_cpu: SameAsCpu) -> None:
    same_as_cpu(derivative, torch.randn(5, dtype=torch.float64))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x @ x.mT,
        lambda x: F.softmax(x, -1).sort(descending=True),
        lambda x: x[:, [2, 0]].index_add(1, torch.tensor([1], device=x.device), x[:, :1]),
        lambda x: torch.linalg.svdvals(x),
        lambda x: torch.where(x > 0, x, x.new_zeros(())),
        lambda x: torch.cat([x, x.new_ones(1, 4)]).nan_to_num_(),
        lambda x: F.conv1d(x[None], x[:, None, :2], groups=3),
        lambda x: F.layer_norm(x, (4,), x[0], x[1]),
        lambda x: F.embedding(torch.tensor([0, 2], device=x.device), x),
        lambda x: torch.scatter_reduce(x, 1, torch.zeros(3, 2, dtype=torch.long, device=x.device), x, "amax"),
        lambda x: (x.clone().masked_fill_(x < 0, 2), x.unfold(1, 2, 1), x.argmax(1)),
        lambda x: torch.linalg.lstsq(x, x).solution,  # no batching rule: vmap's loop
    ],
    ids=[
        "matmul",
        "sort",
        "indexing",
        "linalg",
        "where",
        "in place",
        "convolution",
        "layer_norm",
        "embedding",
        "scatter",
        "masked_fill_",
        "lstsq",
    ],
)
def test_vmap(function: Callable[[Tensor], Any], same_as_cpu: SameAsCpu) -> None:
    same_as_cpu(vmap(function), torch.randn(2, 3, 4))
    same_as_cpu(vmap(vmap(function, 1, -1), chunk_size=1), torch.randn(2, 3, 2, 4))


def test_vmap_over_a_mutated_argument(same_as_cpu: SameAsCpu) -> None:
    def accumulate(total: Tensor, x: Tensor) -> Tensor:
        total.add_(x).mul_(2)
        return total

    same_as_cpu(lambda total, x: vmap(accumulate)(total.clone(), x), torch.ones(3, 2), torch.randn(3, 2))


@pytest.mark.parametrize("randomness", ["different", "same"])
def test_vmap_of_random_numbers(randomness: str) -> None:
    x = torch.zeros(4, 100, device="cuda")
    rows = vmap(
        lambda row: F.dropout(row + 1) + torch.rand_like(row) + torch.randn(100, device="cuda"), randomness=randomness
    )(x)
    assert bool((rows[0] == rows[1]).all()) == (randomness == "same")
    with pytest.raises(RuntimeError, match="called random operation while in randomness error mode"):
        vmap(torch.rand_like)(x)


def test_per_sample_gradients(same_as_cpu: SameAsCpu) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3))

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])

    same_as_cpu(
        vmap(grad(loss), in_dims=(None, 0, 0)),
        {name: parameter.detach() for name, parameter in model.named_parameters()},
        torch.randn(5, 1, 4, 4),
        torch.tensor([0, 1, 2, 1, 0]),
    )


def test_an_ensemble_of_models() -> None:
    models = [torch.nn.Linear(3, 2, device="cuda") for _ in range(4)]
    parameters, buffers = torch.func.stack_module_state(models)
    x = torch.randn(4, 5, 3, device="cuda")
    together = vmap(lambda p, b, row: functional_call(models[0], (p, b), (row,)))(parameters, buffers, x)
    torch.testing.assert_close(together, torch.stack([model(row) for model, row in zip(models, x, strict=True)]))


class Cube(torch.autograd.Function):
    """A function of its own with a saved tensor, forward-mode and vmap."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x**3

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 3 * ctx.saved_tensors[0] ** 2

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent * 3 * ctx.saved_tensors[0] ** 2


@pytest.mark.parametrize(
    "transform",
    [vmap, lambda f: grad(lambda x: f(x).sum()), jacrev, jacfwd, lambda f: vmap(jacrev(f)), lambda f: jacrev(vmap(f))],
    ids=["vmap", "grad", "jacrev", "jacfwd", "vmap of jacrev", "jacrev of vmap"],
)
def test_a_custom_function(transform: Callable[..., Any], same_as_cpu: SameAsCpu) -> None:
    same_as_cpu(transform(Cube.apply), torch.randn(3, 2))


def test_functionalize_replaces_writes(same_as_cpu: SameAsCpu) -> None:
    def writes_to_rows(x: Tensor) -> Tensor:
        y = x.clone()
        y[0].add_(1)
        y.view(-1)[2:4].copy_(x[1, :2])
        return y.t_().sub_(x.T)

    same_as_cpu(functionalize(writes_to_rows), torch.randn(3, 4))
    same_as_cpu(vmap(functionalize(writes_to_rows)), torch.randn(2, 3, 4))
    graph = make_fx(functionalize(writes_to_rows, remove="mutations_and_views"))(torch.randn(3, 4, device="cuda"))
    operators = [node.target._schema for node in graph.graph.nodes if node.op == "call_function"]
    assert not [schema.name for schema in operators if schema.is_mutable]


def test_a_level_does_not_outlive_its_transform() -> None:
    kept: list[Tensor] = []
    grad(lambda x: (kept.append(x), x.sum())[1])(torch.ones(2, device="cuda"))  # type: ignore[func-returns-value]
    assert torch._C._functorch.is_dead_tensor_wrapper(kept[0])
    assert (kept[0] + 1).tolist() == [2.0, 2.0]
