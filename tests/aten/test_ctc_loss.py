"""CTC loss on cuda equals the CPU's, lengths on either device."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("lengths_on", ["cpu", "cuda"])
def test_equals_the_cpu(lengths_on: str) -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(20, 3, 6).log_softmax(2)
    targets = torch.randint(1, 6, (3, 5))
    inputs, outputs = torch.full((3,), 20), torch.tensor([5, 3, 4])
    results = {}
    for device in ("cpu", "cuda"):
        x = log_probs.to(device).detach().requires_grad_()
        where = lengths_on if device == "cuda" else "cpu"
        loss = torch.nn.functional.ctc_loss(x, targets.to(device), inputs.to(where), outputs.to(where))
        loss.backward()
        assert x.grad is not None
        results[device] = (loss.detach().cpu(), x.grad.cpu())
    torch.testing.assert_close(results["cuda"], results["cpu"])
