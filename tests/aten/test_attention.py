"""scaled_dot_product_attention on cuda: the native flash kernel, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode


class Operators(TorchDispatchMode):
    """Names of the operators that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def inputs(device: str, head: int = 16) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 8, head, generator=generator).to(device).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("head", [16, 12, 5])
@pytest.mark.parametrize("masked", ["none", "causal", "bool", "float"])
def test_equals_the_cpu(masked: str, head: int) -> None:
    results = {}
    for device in ("cpu", "cuda"):
        q, k, v = inputs(device, head)
        mask = None
        if masked == "bool":
            mask = torch.ones(8, 8, dtype=torch.bool, device=device).tril()
        if masked == "float":
            mask = torch.linspace(-1, 1, 64, device=device).view(8, 8)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=masked == "causal")
        y.square().sum().backward()
        results[device] = [t.detach().cpu() for t in (y, q.grad, k.grad, v.grad)]
    for ours, reference in zip(results["cuda"], results["cpu"], strict=True):
        torch.testing.assert_close(ours, reference)


def test_takes_the_flash_kernel() -> None:
    q, k, v = inputs("cuda")
    with Operators() as ran, torch.no_grad():
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert "aten::_scaled_dot_product_flash_attention" in ran.names
    assert "aten::_softmax" not in ran.names


def test_vmap() -> None:
    """vmap's tensors hold no data of their own when the kernel is chosen."""
    q, k, v = (torch.stack([t.detach()] * 3) for t in inputs("cuda"))
    y = torch.func.vmap(F.scaled_dot_product_attention)(q, k, v)
    torch.testing.assert_close(y[1], F.scaled_dot_product_attention(q[1], k[1], v[1]))


def test_torch_compile() -> None:
    """Fake tensors hold no data either."""
    q, k, v = inputs("cuda")
    compiled = torch.compile(F.scaled_dot_product_attention, backend="aot_eager", fullgraph=True)
    y = compiled(q, k, v, is_causal=True)
    y.sum().backward()
    torch.testing.assert_close(y, F.scaled_dot_product_attention(q, k, v, is_causal=True))
    assert q.grad is not None


def test_mask_that_requires_grad_gets_a_gradient() -> None:
    q, k, v = inputs("cuda")
    mask = torch.zeros(8, 8, device="cuda", requires_grad=True)
    F.scaled_dot_product_attention(q, k, v, attn_mask=mask).sum().backward()
    assert mask.grad is not None


def test_math_can_be_asked_for() -> None:
    q, k, v = inputs("cuda")
    expected = F.scaled_dot_product_attention(q, k, v)
    with sdpa_kernel(SDPBackend.MATH), Operators() as ran, torch.no_grad():
        y = F.scaled_dot_product_attention(q, k, v)
    assert "aten::_scaled_dot_product_flash_attention" not in ran.names
    torch.testing.assert_close(y, expected)


def test_dropout_falls_back_to_math_and_uses_cudas_generator() -> None:
    q, k, v = inputs("cuda")
    torch.cuda.manual_seed(3)
    first = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    torch.cuda.manual_seed(3)
    assert torch.equal(first, F.scaled_dot_product_attention(q, k, v, dropout_p=0.5))


def test_multihead_attention_and_encoder_layer() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, dropout=0.0, batch_first=True)
    x = torch.randn(2, 5, 16)
    for mode in (layer.train(), layer.eval()):
        expected = mode(x)
        torch.testing.assert_close(mode.cuda()(x.cuda()).cpu(), expected)
        layer.cpu()
