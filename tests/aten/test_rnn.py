"""LSTM and GRU on cuda equal the CPU's, forward, backward and for packed sequences."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def run(kind: str, device: str, **options: object) -> list[torch.Tensor]:
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(5, 7, num_layers=2, **options).to(device)
    x = torch.randn(6, 3, 5).to(device).requires_grad_()
    output, state = module(x)
    states = list(state) if isinstance(state, tuple) else [state]
    sum(t.square().sum() for t in [output, *states]).backward()
    gradients = [p.grad for p in module.parameters()]
    return [t.detach().cpu() for t in [output, *states, x.grad, *gradients]]


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_equals_the_cpu(kind: str, options: dict[str, object]) -> None:
    for ours, reference in zip(run(kind, "cuda", **options), run(kind, "cpu", **options), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["LSTMCell", "GRUCell", "RNNCell"])
def test_cells(cell: str) -> None:
    torch.manual_seed(0)
    module = getattr(torch.nn, cell)(4, 6)
    x = torch.randn(3, 4)
    expected = module(x)
    result = module.cuda()(x.cuda())
    for ours, reference in zip(
        result if isinstance(result, tuple) else [result],
        expected if isinstance(expected, tuple) else [expected],
        strict=True,
    ):
        torch.testing.assert_close(ours.cpu(), reference)


def test_packed_sequences_keep_lengths_on_the_cpu() -> None:
    torch.manual_seed(0)
    module = torch.nn.LSTM(4, 6, batch_first=True)
    x, lengths = torch.randn(3, 5, 4), torch.tensor([5, 3, 1])
    expected, _ = pad_packed_sequence(module(pack_padded_sequence(x, lengths, batch_first=True))[0])
    packed = pack_padded_sequence(x.cuda(), lengths, batch_first=True)
    assert packed.data.is_cuda
    assert packed.batch_sizes.device.type == "cpu"
    output, _ = pad_packed_sequence(module.cuda()(packed)[0])
    torch.testing.assert_close(output.cpu(), expected)
