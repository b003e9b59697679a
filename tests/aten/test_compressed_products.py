"""Products of batches of sparse CSR matrices and sparse systems, which torch has on CUDA alone."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")

MATRIX = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [4.0, 0.0, 5.0]], device="cuda")
DENSE = torch.arange(12.0, device="cuda").view(2, 3, 2)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A batch of different matrices, and CUDA's one matrix with the shape of a batch; each with what it stands for."""
    several = torch.stack([MATRIX, 2 * MATRIX])
    csr = MATRIX.to_sparse_csr()
    repeated = torch.sparse_csr_tensor(
        csr.crow_indices(), csr.col_indices(), csr.values(), (2, 3, 3), check_invariants=False
    )
    return [(several.to_sparse_csr(), several), (repeated, torch.stack([MATRIX, MATRIX]))]


@pytest.mark.parametrize("kind", [0, 1])
def test_products_of_batches(kind: int) -> None:
    sparse, strided = batches()[kind]
    expected = torch.bmm(strided, DENSE)
    assert torch.equal(torch.bmm(sparse, DENSE), expected)
    out = torch.empty(2, 3, 2, device="cuda")
    assert torch.bmm(sparse, DENSE, out=out) is out
    assert torch.equal(out, expected)
    added = torch.baddbmm(DENSE, strided, DENSE, beta=2, alpha=3)
    assert torch.equal(torch.baddbmm(DENSE, sparse, DENSE, beta=2, alpha=3), added)


def test_sparse_system() -> None:
    right = torch.tensor([1.0, 2.0, 3.0], device="cuda")
    solution = torch.sparse.spsolve(MATRIX.to_sparse_csr(), right)
    torch.testing.assert_close(MATRIX @ solution, right)


@pytest.mark.parametrize("upper", [False, True])
def test_triangular_system_of_blocks(upper: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(4, 4, generator=generator).to("cuda") + 4 * torch.eye(4, device="cuda")
    right = torch.randn(4, 2, generator=generator).to("cuda")
    expected = torch.triangular_solve(right, dense, upper=upper).solution
    blocks = (dense.triu() if upper else dense.tril()).to_sparse_bsr((2, 2))
    torch.testing.assert_close(torch.triangular_solve(right, blocks, upper=upper).solution, expected)
