"""2:4 sparse matrices on cuda, as CUTLASS and as cuSPARSELt would keep them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.sparse import (
    SparseSemiStructuredTensor,
    SparseSemiStructuredTensorCUSPARSELT,
    SparseSemiStructuredTensorCUTLASS,
    to_sparse_semi_structured,
)
from torch.sparse._semi_structured_conversions import _compute_compressed_swizzled_bitmask

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor")


@pytest.fixture(params=[True, False], ids=["cutlass", "cusparselt"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparseSemiStructuredTensor, "_FORCE_CUTLASS", request.param)


def sparse_matrix(dtype: torch.dtype) -> torch.Tensor:
    """Every place of two values in a group of four."""
    torch.manual_seed(0)
    values = torch.randint(1, 5, (64, 128)).float()
    order = torch.rand(64, 32, 4).argsort(-1).view(64, 128)
    return (values * (order < 2)).to("cuda", dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products(dtype: torch.dtype) -> None:
    dense = sparse_matrix(dtype)
    sparse = to_sparse_semi_structured(dense)
    x = torch.randint(-2, 3, (128, 16)).to("cuda", dtype)
    torch.testing.assert_close(torch.mm(sparse, x), dense @ x)
    torch.testing.assert_close(sparse.to_dense(), dense)
    bias = torch.arange(64, device="cuda").to(dtype)
    torch.testing.assert_close(F.linear(x.t(), sparse, bias), F.linear(x.t(), dense, bias))


def test_int8_products_are_exact() -> None:
    dense = sparse_matrix(torch.int8)
    sparse = to_sparse_semi_structured(dense)
    x = torch.randint(-1, 2, (32, 128), dtype=torch.int8, device="cuda").t()
    expected = dense.cpu().int() @ x.cpu().int()
    result = torch.mm(sparse, x).cpu()
    assert torch.equal(result.int(), expected.clamp(-128, 127) if result.dtype == torch.int8 else expected)


def test_int8_products_in_layouts_that_cutlass_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparseSemiStructuredTensor, "_FORCE_CUTLASS", True)
    sparse = to_sparse_semi_structured(sparse_matrix(torch.int8))
    x = torch.ones(128, 32, dtype=torch.int8, device="cuda")
    with pytest.raises(RuntimeError, match="Combination of row-major and row-major layouts for input tensors"):
        torch.mm(sparse, x)


@pytest.mark.parametrize("kind", [SparseSemiStructuredTensorCUTLASS, SparseSemiStructuredTensorCUSPARSELT])
def test_pruning(kind: type) -> None:
    dense = torch.ones(128, 128, dtype=torch.float16, device="cuda")
    block = [[4, 3, 2, 1], [-1, -3, 0.6, 0.5], [1, 2, 3, 4], [10, 2, -1, 5]]
    dense[:4, :4] = torch.tensor(block)
    sparse = kind.prune_dense_static_sort(dense, algorithm="largest_abs_values_greedy")
    kept = sparse.to_dense() != 0
    assert kept[:4, :4].int().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    pruned = dense * kept
    x = torch.randint(-2, 3, (128, 32), device="cuda").half()
    torch.testing.assert_close(sparse @ x, pruned @ x)
    torch.testing.assert_close(sparse.t() @ x, pruned.t() @ x)


def test_pruning_by_a_mask() -> None:
    dense = torch.randn(64, 96, generator=torch.Generator().manual_seed(0)).to("cuda", torch.float16)
    packed, _, packed_t, _, mask = torch._sparse_semi_structured_tile(dense)
    assert mask.shape == (8, 12, 8)
    kept = torch._sparse_semi_structured_apply_dense(dense, mask) != 0
    for matrix in (kept, kept.t()):
        assert (matrix.reshape(matrix.shape[0], -1, 4).sum(-1) <= 2).all()
    assert torch.equal(torch._sparse_semi_structured_apply_dense(dense, mask), dense * kept)
    again, again_t = torch._sparse_semi_structured_apply(dense, mask)
    assert torch.equal(again, packed)
    assert torch.equal(again_t, packed_t)
    assert torch.equal(_compute_compressed_swizzled_bitmask(kept).reshape(mask.shape), mask)
