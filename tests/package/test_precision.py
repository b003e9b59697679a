"""Products of float32 matrices are at least as exact as a GPU's TF32, whatever precision is asked for."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import RunPython


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_of_every_precision(run_python: RunPython, precision: str) -> None:
    run_python(
        f"""
        import torch

        torch.manual_seed(0)
        a, b = torch.randn(512, 512), torch.randn(512, 512)
        exact = a.double() @ b.double()
        torch.set_float32_matmul_precision({precision!r})
        assert torch.get_float32_matmul_precision() == {precision!r}
        assert torch.backends.cuda.matmul.allow_tf32 == ({precision!r} != "highest")
        for run in (lambda: a.cuda() @ b.cuda(), lambda: torch.nn.functional.linear(a.cuda(), b.t().cuda())):
            error = (run().cpu().double() - exact).norm() / exact.norm()
            assert error < 3e-4, error
        """
    )


def test_allow_tf32_changes_no_result() -> None:
    a = torch.randn(64, 64, device="cuda")
    before = torch.backends.cuda.matmul.allow_tf32
    exact = a @ a
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        assert torch.equal(a @ a, exact)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
