"""float8 on cuda: conversions, moves, scaled products and storage."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch

SameAsCpu = Callable[..., None]
FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu]
VALUES = torch.tensor([[0.5, 1.0, 3.3, 17.0], [0.01, 448.0, 57344.0, 1e-9]])


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_conversions(dtype: torch.dtype, same_as_cpu: SameAsCpu) -> None:
    for wide in (torch.float32, torch.float16, torch.bfloat16):
        same_as_cpu(lambda x, wide=wide: x.to(wide).to(dtype).view(torch.uint8), VALUES)
        same_as_cpu(lambda x, wide=wide: x.to(dtype).to(wide), VALUES)


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_moves_and_views(dtype: torch.dtype) -> None:
    x = VALUES.to(dtype)
    y = x.cuda()
    assert (y.dtype, y.device.type) == (dtype, "cuda")
    for other in (y.t()[1:].contiguous(), torch.cat([y, y])[2:], y.clone(), y[:, :], torch.empty_like(y).copy_(y)):
        assert other.dtype == dtype
    assert torch.equal(torch.cat([y, y])[2:].cpu().view(torch.uint8), x.view(torch.uint8))
    assert torch.equal(y.t().contiguous().cpu().view(torch.uint8), x.t().contiguous().view(torch.uint8))
    file = io.BytesIO()
    torch.save(y, file)
    file.seek(0)
    assert torch.equal(torch.load(file).view(torch.uint8), y.view(torch.uint8))


@pytest.mark.parametrize("scales", ["of tensors", "of rows"])
@pytest.mark.parametrize("out_dtype", [torch.bfloat16, torch.float32])
def test_scaled_mm(out_dtype: torch.dtype, scales: str) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(16, 32, device="cuda"), torch.randn(48, 32, device="cuda")
    rows = scales == "of rows"
    if rows and out_dtype != torch.bfloat16:
        pytest.skip("CUDA's kernel by rows has bfloat16 results only")
    scale_a, scale_b = (x.abs().amax(1, keepdim=True) / 448 if rows else x.abs().max() / 448 for x in (a, b))
    a8, b8 = (a / scale_a).to(torch.float8_e4m3fn), (b / scale_b).to(torch.float8_e4m3fn)
    result = torch._scaled_mm(a8, b8.t(), scale_a, scale_b.t() if rows else scale_b, out_dtype=out_dtype)
    assert (result.dtype, result.device.type) == (out_dtype, "cuda")
    expected = (a8.float() * scale_a) @ (b8.float() * scale_b).t()
    torch.testing.assert_close(result.float(), expected, rtol=1e-2, atol=1e-2)


def test_a_linear_layer_with_float8_weights(same_as_cpu: SameAsCpu) -> None:
    same_as_cpu(
        lambda x, w: torch.nn.functional.linear(x, w.to(torch.float8_e4m3fn).to(x.dtype)), *torch.randn(2, 3, 3)
    )


def test_what_float8_cannot_do() -> None:
    x = torch.ones(2, device="cuda", dtype=torch.float8_e4m3fn)
    with pytest.raises(NotImplementedError, match='"add_stub" not implemented for \'Float8_e4m3fn\'|"add'):
        x + x
