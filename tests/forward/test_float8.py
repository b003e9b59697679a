"""Products of float8 matrices: refused by a GPU that was chosen and lacks them."""

from __future__ import annotations

import pytest

from tests.conftest import RunPython

PRODUCT = """
    import torch
    x, y = torch.rand(16, 48, device="cuda"), torch.rand(32, 48, device="cuda")
    scale = torch.tensor(1.0, device="cuda")
    x, y = x.to(torch.float8_e4m3fn), y.to(torch.float8_e4m3fn)
    try:
        product = torch._scaled_mm(x, y.t(), scale, scale, out_dtype=torch.float32)
        torch.testing.assert_close(product, x.float() @ y.float().t())
        print("computed")
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (
            "A100",
            "torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0 or 8.9, or ROCm MI300+",
        ),
        ("H100", "computed"),
        (None, "computed"),  # no GPU was chosen: what the host can
    ],
)
def test_product(run_python: RunPython, profile: str | None, expected: str) -> None:
    assert run_python(PRODUCT, TORCHDEVICE_PROFILE=profile).stdout.strip() == expected
