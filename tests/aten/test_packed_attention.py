"""CUDA's attention kernels called directly, dense and packed, against attention composed in Python."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.nn.attention.bias import causal_lower_right
from torch.nn.attention.varlen import varlen_attn

HEADS, FEATURES = 4, 8
#: Results were rounded to float16.
OF_HALVES = {"rtol": 2e-3, "atol": 2e-3}


def tokens(*counts: int, heads: int = HEADS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, heads, FEATURES, generator=generator).cuda() for n in counts]


def ends(*lengths: int) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int().cuda()


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, visible: torch.Tensor | None = None) -> torch.Tensor:
    """Of tensors (tokens, heads, features), on the CPU."""
    q, k, v = (t.cpu().transpose(0, 1) for t in (q, k, v))
    group = q.size(0) // k.size(0)
    k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
    scores = q @ k.transpose(1, 2) / FEATURES**0.5
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    return (scores.softmax(-1).nan_to_num() @ v).transpose(0, 1)


def band(queries: int, keys: int, left: int, right: int) -> torch.Tensor:
    distance = torch.arange(keys) - torch.arange(queries)[:, None] - (keys - queries)
    visible = torch.ones(queries, keys, dtype=torch.bool)
    if left >= 0:
        visible &= distance >= -left
    if right >= 0:
        visible &= distance <= right
    return visible


@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (2, 0), (1, 1)], ids=str)
def test_varlen_attn(window: tuple[int, int]) -> None:
    lengths = [(3, 5), (4, 4)]
    q, k, v = tokens(7, 9, 9)
    leaves = [t.half().requires_grad_() for t in (q, k, v)]
    y = varlen_attn(*leaves, ends(3, 4), ends(5, 4), 4, 5, window_size=window)  # type: ignore[misc]
    y.float().square().sum().backward()
    mine = [t.detach().half().float().cpu().requires_grad_() for t in (q, k, v)]
    parts, q_start, k_start = [], 0, 0
    for n, m in lengths:
        visible = band(n, m, *window)
        keys = slice(k_start, k_start + m)
        parts.append(reference(mine[0][q_start : q_start + n], mine[1][keys], mine[2][keys], visible))
        q_start, k_start = q_start + n, k_start + m
    expected = torch.cat(parts)
    expected.square().sum().backward()
    torch.testing.assert_close(y.float().cpu(), expected, rtol=1e-2, atol=1e-2)
    for ours, theirs in zip(leaves, mine, strict=True):
        torch.testing.assert_close(ours.grad.float().cpu(), theirs.grad, rtol=2e-2, atol=2e-2)


def test_dense_flash_with_grouped_heads_and_logsumexp() -> None:
    q = tokens(6)[0].view(2, 3, HEADS, FEATURES).half()
    k = tokens(10, heads=2)[0].view(2, 5, 2, FEATURES).half()
    y, logsumexp, *_ = torch.ops.aten._flash_attention_forward(q, k, k, None, None, 3, 5, 0.0, False, False)
    assert logsumexp.shape == (2, HEADS, 3)
    y, q, k = y.float(), q.float(), k.float()
    for i in range(2):
        torch.testing.assert_close(y[i].cpu(), reference(q[i], k[i], k[i]), **OF_HALVES)
        scores = torch.einsum("qhd,khd->hqk", q[i], k[i].repeat_interleave(2, 1)) / FEATURES**0.5
        torch.testing.assert_close(logsumexp[i], scores.logsumexp(-1), **OF_HALVES)


def test_pages_and_used_lengths() -> None:
    q, k = (t.half() for t in tokens(2, 8))
    pages = k.view(4, 2, HEADS, FEATURES)
    table = torch.tensor([[2, 0], [3, 1]], device="cuda", dtype=torch.int32)
    used = torch.tensor([3, 2], device="cuda", dtype=torch.int32)
    y = torch.ops.aten._flash_attention_forward(
        q, pages, pages, ends(1, 1), None, 1, 3, 0.0, False, False, seqused_k=used, block_table=table
    )[0]
    y, q, pages = y.float(), q.float(), pages.float()
    first = torch.cat([pages[2], pages[0]])[:3]
    torch.testing.assert_close(y[:1].cpu(), reference(q[:1], first, first), **OF_HALVES)
    torch.testing.assert_close(y[1:].cpu(), reference(q[1:], pages[3], pages[3]), **OF_HALVES)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_efficient_bias_gets_its_gradient(dropout: float) -> None:
    q, k, v = (t.view(2, -1, HEADS, FEATURES).requires_grad_() for t in tokens(6, 10, 10))
    bias = torch.randn(2, HEADS, 3, 5, device="cuda", requires_grad=True)

    def attend() -> torch.Tensor:
        torch.cuda.manual_seed(0)
        return torch.ops.aten._efficient_attention_forward(
            q, k, v, bias, None, None, None, None, dropout, 0, compute_log_sumexp=True
        )[0]

    attend().square().sum().backward()
    with torch.no_grad():  # by differences
        step = torch.zeros_like(bias)
        step[1, 2, 0, 3] = 1e-2
        before: list[torch.Tensor] = []
        after: list[torch.Tensor] = []
        for sign, into in ((-1, before), (1, after)):
            bias += sign * step
            into.append(attend().square().sum())
            bias -= sign * step
    torch.testing.assert_close(bias.grad[1, 2, 0, 3], (after[0] - before[0]) / 2e-2, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("kind", [1, 2])
def test_efficient_causal_masks(kind: int) -> None:
    q, k, v = (t.unsqueeze(0) for t in tokens(3, 5, 5))
    y, logsumexp, *_ = torch.ops.aten._efficient_attention_forward(
        q, k, v, None, None, None, None, None, 0.0, kind, compute_log_sumexp=True
    )
    assert logsumexp.shape == (1, HEADS, 32)
    visible = torch.ones(3, 5, dtype=torch.bool).tril(0 if kind == 1 else 2)
    torch.testing.assert_close(y[0].cpu(), reference(q[0], k[0], v[0], visible))


def test_causal_lower_right_bias() -> None:
    q, k, v = (t.transpose(0, 1).unsqueeze(0) for t in tokens(3, 5, 5))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(3, 5))
    expected = F.scaled_dot_product_attention(
        q.cpu(), k.cpu(), v.cpu(), attn_mask=torch.ones(3, 5, dtype=torch.bool).tril(2)
    )
    torch.testing.assert_close(y.cpu(), expected)


def test_jagged_tensors() -> None:
    parts = tokens(3, 5)
    jagged = torch.nested.nested_tensor([p.half() for p in parts], layout=torch.jagged).transpose(1, 2)
    y = F.scaled_dot_product_attention(jagged, jagged, jagged).transpose(1, 2)
    for ours, part in zip(y.unbind(), parts, strict=True):
        torch.testing.assert_close(ours.float().cpu(), reference(part, part, part), rtol=1e-2, atol=1e-2)
