"""torch.utils.checkpoint, saved-tensor hooks and selective checkpointing on cuda: gradients as without them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)


def policy(_context: Any, operator: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    products = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default]
    return CheckpointPolicy.MUST_SAVE if operator in products else CheckpointPolicy.PREFER_RECOMPUTE


WAYS: dict[str, Callable[..., Tensor]] = {
    "reentrant": lambda block, x: checkpoint(block, x, use_reentrant=True),
    "not reentrant": lambda block, x: checkpoint(block, x, use_reentrant=False),
    "selective": lambda block, x: checkpoint(
        block, x, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, policy)
    ),
    "sequential": lambda block, x: checkpoint_sequential(block, 2, x, use_reentrant=False),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_gradients(way: Callable[..., Tensor]) -> None:
    def gradients(run: Callable[..., Tensor]) -> list[Tensor]:
        torch.manual_seed(0)
        block = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 4)
        ).cuda()
        x = torch.ones(3, 4, device="cuda", requires_grad=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = run(block, x).square().sum()
        loss.backward()
        return [x.grad, *(parameter.grad for parameter in block.parameters())]  # type: ignore[list-item]

    torch.testing.assert_close(gradients(way), gradients(lambda block, x: block(x)), rtol=0, atol=0)


def test_activations_are_not_kept() -> None:
    block = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(8))).cuda()
    x = torch.ones(1024, 256, device="cuda", requires_grad=True)

    def kept(run: Callable[..., Tensor]) -> int:
        before = torch.cuda.memory_allocated()
        y = run(block, x)
        after = torch.cuda.memory_allocated()
        del y
        return after - before

    assert kept(WAYS["not reentrant"]) == x.nbytes
    assert kept(lambda block, x: block(x)) == 8 * x.nbytes


def test_saved_on_the_cpu() -> None:
    x = torch.randn(3, 4, device="cuda", requires_grad=True)
    with torch.autograd.graph.save_on_cpu(pin_memory=True):
        y = x.sin() * x.cos()
    y.sum().backward()
    torch.testing.assert_close(x.grad, (2 * x).cos().detach())
