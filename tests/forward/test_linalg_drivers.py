"""Linear algebra with an algorithm that the caller names."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("driver", [None, "gesvd", "gesvdj", "gesvda"])
def test_singular_values_by_any_of_cusolvers_drivers(driver: str | None) -> None:
    x = torch.randn(4, 3, device="cuda", requires_grad=True)
    u, values, v = torch.linalg.svd(x, full_matrices=False, driver=driver)
    torch.testing.assert_close(u @ values.diag() @ v, x)
    torch.testing.assert_close(torch.linalg.svdvals(x, driver=driver), values)
    out = torch.empty(3, device="cuda")
    assert torch.linalg.svdvals(x.detach(), driver=driver, out=out) is out
    torch.testing.assert_close(out, values)
    values.sum().backward()
    torch.testing.assert_close(x.grad, u @ v)


def test_a_driver_that_there_is_not() -> None:
    with pytest.raises(RuntimeError, match=r"torch\.linalg\.svd: unknown svd driver qr in svd_cusolver computation"):
        torch.linalg.svd(torch.eye(2, device="cuda"), driver="qr")


def test_least_squares_by_cudas_default() -> None:
    a = torch.tensor([[1.0, 2], [2, 4], [3, 6.5]], device="cuda")
    b = torch.ones(3, 1, device="cuda")
    result = torch.linalg.lstsq(a, b)
    torch.testing.assert_close(result.solution, torch.linalg.lstsq(a.cpu(), b.cpu(), driver="gels").solution.cuda())
    torch.testing.assert_close(result.residuals, torch.tensor([0.2], device="cuda"))
    assert result.rank.numel() == result.singular_values.numel() == 0
    for other in ("gelsd", "qr"):
        with pytest.raises(
            RuntimeError, match="^torch.linalg.lstsq: `driver` other than `gels` is not supported on CUDA$"
        ):
            torch.linalg.lstsq(a, b, driver=other)
