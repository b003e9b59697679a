"""nn.LSTM in whole layers by oneDNN: bitwise what the CPU's own LSTM gives, and cell by cell where oneDNN declines."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch.profiler import ProfilerActivity, profile


def results(device: str, *, double_backward: bool = False, **options: object) -> list[torch.Tensor]:
    torch.manual_seed(0)
    module = torch.nn.LSTM(5, 7, **{"num_layers": 2, **options}).to(device)
    x = torch.randn(6, 3, 5).to(device).requires_grad_()
    output, (hidden, cells) = module(x)
    total = output.square().sum() + hidden.sum() + cells.square().sum()
    gradients = torch.autograd.grad(total, [x, *module.parameters()], create_graph=double_backward)
    found = [output, hidden, cells, *gradients]
    if double_backward:
        found += torch.autograd.grad(sum(gradient.square().sum() for gradient in gradients), [x])
    return [one.detach().cpu() for one in found]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True},
        {"bias": False},
        {"batch_first": True, "bidirectional": True, "num_layers": 1},
    ],
    ids=str,
)
def test_bitwise_as_on_the_cpu(options: dict[str, object]) -> None:
    for ours, reference in zip(results("cuda", **options), results("cpu", **options), strict=True):
        assert torch.equal(ours, reference)


@pytest.mark.parametrize("options", [{"proj_size": 3}, {"double_backward": True}], ids=str)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_close_to_the_cpu(options: dict[str, object]) -> None:
    for ours, reference in zip(results("cuda", **options), results("cpu", **options), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def layers_run(context: AbstractContextManager[object], dtype: torch.dtype = torch.float32) -> tuple[int, torch.dtype]:
    """How many of oneDNN's layers two layers of LSTM take, and the type of what comes out."""
    module = torch.nn.LSTM(5, 7, 2, device="cuda", dtype=dtype)
    x = torch.ones(6, 3, 5, device="cuda", dtype=dtype)
    with context, profile(activities=[ProfilerActivity.CPU]) as recorded:
        output, _ = module(x)
    return sum(event.name == "aten::mkldnn_rnn_layer" for event in recorded.events()), output.dtype


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
def test_what_takes_whole_layers() -> None:
    assert layers_run(nullcontext()) == (2, torch.float32)
    assert layers_run(nullcontext(), torch.float64) == (0, torch.float64)
    assert layers_run(torch.backends.cudnn.flags(enabled=False)) == (0, torch.float32)
    assert layers_run(torch.backends.mkldnn.flags(enabled=False)) == (0, torch.float32)
    assert layers_run(torch.autocast("cuda", dtype=torch.float16)) == (2, torch.float16)
    assert layers_run(nullcontext(), torch.bfloat16) == (2, torch.bfloat16)
    assert layers_run(nullcontext(), torch.float16) == (2, torch.float16)


def test_dropout_between_layers_draws_from_the_device() -> None:
    module = torch.nn.LSTM(5, 7, 2, dropout=0.5, device="cuda")
    x = torch.ones(6, 3, 5, device="cuda")
    cpu_state = torch.get_rng_state()
    torch.cuda.manual_seed(1)
    first, second = module(x)[0], module(x)[0]
    torch.cuda.manual_seed(1)
    assert torch.equal(module(x)[0], first)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), cpu_state)


def test_states_on_the_cpu_are_refused() -> None:
    module = torch.nn.LSTM(5, 7, device="cuda")
    states = (torch.zeros(1, 3, 7), torch.zeros(1, 3, 7))
    with pytest.raises(RuntimeError, match="not at the same device, found input tensor at cuda:0 and hidden tensor at"):
        module(torch.ones(6, 3, 5, device="cuda"), states)
