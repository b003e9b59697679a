"""Products with packed 4-bit matrices, which only CUDA has in this layout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor


def weight(rows: int, columns: int) -> Tensor:
    return torch.randint(16, (rows, columns), dtype=torch.int32, device="cuda")


def packed(numbers: Tensor, inner: int) -> Tensor:
    return torch._convert_weight_to_int4pack((numbers[:, ::2] << 4 | numbers[:, 1::2]).to(torch.uint8), inner)


def packed_lane_by_lane(numbers: Tensor, inner: int) -> Tensor:
    """As native/cuda/int4mm.cu does it, thread by thread."""
    rows, columns = numbers.shape
    result = torch.zeros(rows // 8, columns // (inner * 16), 32, inner // 2, dtype=torch.int32)
    for tile, outer, lane, pair in torch.cartesian_prod(*map(torch.arange, result.shape)).tolist():
        first = (outer * inner + 2 * pair) * 16 + 2 * (lane % 4)
        row = numbers[tile * 8 + lane // 4].tolist()
        lanes = [row[first + offset] for half in (0, 1) for offset in (half, half + 8, half + 16, half + 24)]
        bits = sum(number << (4 * place) for place, number in enumerate(lanes))
        result[tile, outer, lane, pair] = bits - (bits >> 31 << 32)
    return result


@pytest.mark.parametrize("inner", [2, 4, 8])
def test_the_layout_is_cudas(inner: int) -> None:
    numbers = weight(16, 256)
    result = packed(numbers, inner)
    assert result.device.type == "cuda"
    assert torch.equal(result.cpu(), packed_lane_by_lane(numbers.cpu(), inner))


def test_missing_rows_are_zero() -> None:
    numbers = weight(11, 32)
    whole = torch.cat([numbers, numbers.new_zeros(5, 32)])
    assert torch.equal(packed(numbers, 2), packed(whole, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(("inner", "group"), [(2, 32), (4, 64), (8, 128)])
def test_product(inner: int, group: int, dtype: torch.dtype) -> None:
    numbers = weight(24, 256)
    x = torch.randn(5, 256, device="cuda").to(dtype)
    scales_and_zeros = torch.randn(256 // group, 24, 2, device="cuda").to(dtype)
    scale, zero = (part.t().float().repeat_interleave(group, 1) for part in scales_and_zeros.unbind(-1))
    expected = x @ ((numbers - 8) * scale + zero).to(dtype).t()
    result = torch._weight_int4pack_mm(x, packed(numbers, inner), group, scales_and_zeros)
    assert result.dtype is dtype
    torch.testing.assert_close(result, expected)


def test_what_does_not_fit() -> None:
    w, x = packed(weight(8, 64), 2), torch.ones(2, 64, device="cuda", dtype=torch.bfloat16)
    sz = x.new_ones(2, 8, 2)
    with pytest.raises(RuntimeError, match="innerKTiles must be 2, 4 or 8, got 3"):
        packed(weight(8, 64), 3)
    with pytest.raises(RuntimeError, match="expected w to be uint8, got Int"):
        torch._convert_weight_to_int4pack(weight(8, 64), 2)
    with pytest.raises(RuntimeError, match="must be a multiple of innerKTiles"):
        packed(weight(8, 48), 2)
    with pytest.raises(RuntimeError, match="qGroupSize must be 32, 64, 128 or 256, got 16"):
        torch._weight_int4pack_mm(x, w, 16, sz)
    with pytest.raises(RuntimeError, match=r"qScaleAndZeros must have the sizes \[2, 8, 2\]"):
        torch._weight_int4pack_mm(x, w, 32, sz[:1])
    with pytest.raises(RuntimeError, match="x has 32 columns and w 64"):
        torch._weight_int4pack_mm(x[:, :32], w, 32, sz)
