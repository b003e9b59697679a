"""2:4 sparse matrices on cuda, as CUTLASS and as cuSPARSELt would keep them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.sparse import SparseSemiStructuredTensor, to_sparse_semi_structured

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
