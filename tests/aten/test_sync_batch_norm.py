"""The parts of nn.SyncBatchNorm on two simulated processes equal nn.BatchNorm of the whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

EPSILON = 1e-5
MOMENTUM = 0.1


def whole_batch(x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.nn.BatchNorm2d, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    module = torch.nn.BatchNorm2d(3, eps=EPSILON, momentum=MOMENTUM)
    torch.nn.init.normal_(module.weight)
    torch.nn.init.normal_(module.bias)
    x = x.clone().requires_grad_()
    y = module(x)
    y.backward(grad)
    return module, y.detach(), x.grad  # type: ignore[return-value]


def test_two_parts_equal_the_whole() -> None:
    torch.manual_seed(0)
    x, grad = torch.randn(6, 3, 4, 4), torch.randn(6, 3, 4, 4)
    module, expected, expected_grad = whole_batch(x, grad)
    weight, bias = module.weight.detach().cuda(), module.bias.detach().cuda()
    parts, grads = x.cuda().split([2, 4]), grad.cuda().split([2, 4])
    counts = torch.tensor([2 * 16.0, 4 * 16.0], device="cuda")
    statistics = [torch.batch_norm_stats(part, EPSILON) for part in parts]
    running_mean, running_var = torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")
    mean, invstd = torch.batch_norm_gather_stats_with_counts(
        parts[0],
        torch.stack([s[0] for s in statistics]),
        torch.stack([s[1] for s in statistics]),
        running_mean,
        running_var,
        MOMENTUM,
        EPSILON,
        counts,
    )
    y = torch.cat([torch.batch_norm_elemt(part, weight, bias, mean, invstd, EPSILON) for part in parts])
    torch.testing.assert_close(y.cpu(), expected)
    torch.testing.assert_close(running_mean.cpu(), module.running_mean)
    torch.testing.assert_close(running_var.cpu(), module.running_var)

    reduced = [
        torch.batch_norm_backward_reduce(g, part, mean, invstd, weight, True, True, True)
        for g, part in zip(grads, parts, strict=True)
    ]
    sum_dy, sum_dy_xmu, grad_weight, grad_bias = (sum(r[i] for r in reduced) for i in range(4))
    torch.testing.assert_close(grad_weight.cpu(), module.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grad_bias.cpu(), module.bias.grad, rtol=1e-4, atol=1e-4)
    grad_input = torch.cat(
        [
            torch.batch_norm_backward_elemt(g, part, mean, invstd, weight, sum_dy, sum_dy_xmu, counts.int())
            for g, part in zip(grads, parts, strict=True)
        ]
    )
    torch.testing.assert_close(grad_input.cpu(), expected_grad, rtol=1e-4, atol=1e-5)


def test_equal_counts() -> None:
    x = torch.randn(4, 3, device="cuda")
    means, invstds = zip(*(torch.batch_norm_stats(part, EPSILON) for part in x.split(2)), strict=True)
    mean, invstd = torch.batch_norm_gather_stats(
        x, torch.stack(means), torch.stack(invstds), None, None, MOMENTUM, EPSILON, 2
    )
    torch.testing.assert_close(mean, x.mean(0))
    torch.testing.assert_close(invstd, (x.var(0, unbiased=False) + EPSILON).rsqrt())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_have_float32_statistics(dtype: torch.dtype) -> None:
    x = torch.randn(8, 3, device="cuda", dtype=dtype)
    mean, invstd = torch.batch_norm_stats(x, EPSILON)
    assert mean.dtype == invstd.dtype == torch.float32
    y = torch.batch_norm_elemt(x, None, None, mean, invstd, EPSILON)
    assert y.dtype == dtype
    out = torch.empty_like(x)
    torch.batch_norm_elemt(x, None, None, mean, invstd, EPSILON, out=out)
    assert torch.equal(out, y)


def test_without_a_process_group_it_is_batch_norm() -> None:
    x = torch.randn(4, 3, 2, 2)
    expected = torch.nn.BatchNorm2d(3)(x)
    torch.testing.assert_close(torch.nn.SyncBatchNorm(3).cuda()(x.cuda()).cpu(), expected)


PROCESS = """
import sys, torch, torch.distributed as dist
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(0)
x = torch.randn(4, 3, 5)
whole = torch.nn.BatchNorm1d(3)
expected_input = x.clone().requires_grad_()
expected = whole(expected_input)
expected.square().sum().mul(0.5).add(expected.sin().sum()).backward()
module = torch.nn.SyncBatchNorm(3).cuda()
part = x[rank * 2 : rank * 2 + 2].cuda().requires_grad_()
y = module(part)
y.square().sum().mul(0.5).add(y.sin().sum()).backward()
mine = slice(rank * 2, rank * 2 + 2)
torch.testing.assert_close(y.cpu(), expected[mine].detach())
torch.testing.assert_close(part.grad.cpu(), expected_input.grad[mine], rtol=1e-4, atol=1e-4)
torch.testing.assert_close(module.running_var.cpu(), whole.running_var)
dist.destroy_process_group()
"""


def test_two_processes_over_gloo(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store")], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
