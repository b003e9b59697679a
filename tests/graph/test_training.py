"""Training in CUDA graphs: whole steps, mixed precision, losses and torch.cuda.make_graphed_callables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.graph.conftest import capture

pytestmark = pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream does not match")


def test_a_whole_training_step() -> None:
    """Forward, loss, backward and a capturable optimizer in one graph give what the same steps give eagerly."""

    def run(graphed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1)).cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, capturable=True)
        data = torch.randn(12, 32, 8, device="cuda")
        targets = data.sum(dim=2, keepdim=True)
        x, target = data[0].clone(), targets[0].clone()

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.mse_loss(model(x), target).backward()
            optimizer.step()

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        optimizer.zero_grad(set_to_none=True)
        replay = capture(step).replay if graphed else step
        for i in range(1, 12):
            x.copy_(data[i])
            target.copy_(targets[i])
            replay()
        return [t.detach().clone() for t in model.state_dict().values()]

    for graphed, eager in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(graphed, eager, rtol=0, atol=0)


def test_amp_in_a_graph() -> None:
    layer = nn.Linear(8, 8).cuda()
    scaler = torch.amp.GradScaler("cuda", init_scale=4.0)
    x = torch.randn(4, 8, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
        loss = layer(x).float().sum()
        scaler.scale(loss).backward()
    x.normal_()
    graph.replay()
    expected = torch.autograd.grad(layer.to(torch.bfloat16)(x.bfloat16()).float().sum() * 4, list(layer.parameters()))
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient.to(parameter.grad.dtype), rtol=0.02, atol=0.1)


@pytest.mark.parametrize("count", [1, 2])
def test_make_graphed_callables(count: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.0), nn.Tanh()).cuda() for _ in range(count)]
    reference = [nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.0), nn.Tanh()).cuda() for _ in range(count)]
    for a, b in zip(layers, reference, strict=True):
        b.load_state_dict(a.state_dict())
    samples = tuple((torch.randn(5, 6, device="cuda", requires_grad=True),) for _ in layers)
    if count == 1:
        graphed = [torch.cuda.make_graphed_callables(layers[0], samples[0])]
    else:
        graphed = list(torch.cuda.make_graphed_callables(tuple(layers), samples))
    for _ in range(2):
        for module in layers + reference:
            module.zero_grad()
        x = torch.randn(5, 6, device="cuda", requires_grad=True)
        y = x.detach().clone().requires_grad_()
        out, expected = x, y
        for a, b in zip(graphed, reference, strict=True):
            out, expected = a(out), b(expected)
        torch.testing.assert_close(out, expected, rtol=0, atol=0)
        out.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
        for a, b in zip(layers, reference, strict=True):
            for p, q in zip(a.parameters(), b.parameters(), strict=True):
                torch.testing.assert_close(p.grad, q.grad)


def test_a_graphed_function() -> None:
    samples = (torch.ones(3, 3, device="cuda"), torch.ones(3, 3, device="cuda"))
    function = torch.cuda.make_graphed_callables(lambda a, b: a @ b + a, samples)
    a, b = torch.randn(2, 3, 3, device="cuda")
    torch.testing.assert_close(function(a, b), a @ b + a, rtol=0, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "loss",
    [
        nn.functional.mse_loss,
        nn.functional.l1_loss,
        nn.functional.smooth_l1_loss,
        nn.functional.huber_loss,
        nn.functional.soft_margin_loss,
        nn.functional.binary_cross_entropy,
    ],
)
@pytest.mark.filterwarnings("error:An output with one or more elements was resized")
def test_losses_replay_into_their_scalar(loss: Callable[..., torch.Tensor], reduction: str) -> None:
    """Their out= overloads resize `out` to the shape of the inputs before they reduce."""
    x = torch.rand(50, 10, device="cuda")
    target = torch.rand(50, 10, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = loss(x, target, reduction=reduction)
        twice = y * 2
    address = y.data_ptr()
    for _ in range(3):
        x.uniform_()
        graph.replay()
        expected = loss(x, target, reduction=reduction)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(twice, expected * 2)
    assert y.data_ptr() == address
    assert y.shape == ()
