"""Autocast and GradScaler on cuda."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def test_autocast_casts_matrix_products_and_keeps_reductions() -> None:
    x = torch.randn(4, 4, device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.is_autocast_enabled("cuda")
        assert (x @ x).dtype == torch.bfloat16
        assert torch.nn.functional.softmax(x @ x, dim=0).dtype == torch.float32
        with torch.autocast("cuda", enabled=False):
            assert (x @ x).dtype == torch.float32
    assert (x @ x).dtype == torch.float32


def test_autocast_of_the_cpu_leaves_cuda_alone() -> None:
    x = torch.randn(1, 1, 4, 4, device="cuda")
    weight = torch.randn(1, 1, 3, 3, device="cuda")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.nn.functional.conv2d(x, weight).dtype == torch.float32
        assert (x @ x).dtype == torch.float32


def test_default_dtype_is_half() -> None:
    with torch.autocast("cuda"):
        assert torch.get_autocast_dtype("cuda") == torch.float16
        assert (torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")).dtype == torch.float16


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}], ids=str)
def test_grad_scaler_scales_skips_infinities_and_grows(options: dict[str, bool]) -> None:
    weight = torch.nn.Parameter(torch.ones(4, device="cuda"))
    optimizer = torch.optim.AdamW([weight], lr=0.1, **options)
    scaler = torch.amp.GradScaler("cuda", init_scale=8.0, growth_interval=2)

    def step(factor: float) -> None:
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    step(1.0)
    assert weight.grad is not None
    before = weight.detach().clone()
    step(float("inf"))
    assert torch.equal(weight, before)
    assert scaler.get_scale() == 4.0
    step(1.0)
    step(1.0)
    assert scaler.get_scale() == 8.0
    assert not torch.equal(weight, before)


def test_unscale_allows_clipping() -> None:
    weight = torch.nn.Parameter(torch.ones(3, device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cuda", init_scale=1024.0)
    scaler.scale((weight * 3).sum()).backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_([weight], 1.0)
    torch.testing.assert_close(norm.cpu(), torch.tensor(27.0).sqrt())
    scaler.step(optimizer)
    torch.testing.assert_close(weight.detach().cpu(), torch.full((3,), 1 - 3**-0.5))


def test_custom_forward_and_backward() -> None:
    class Product(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x @ x

        @staticmethod
        @torch.amp.custom_bwd(device_type="cuda")
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return grad @ x.t() + x.t() @ grad

    x = torch.ones(2, 2, device="cuda", dtype=torch.float16, requires_grad=True)
    with torch.autocast("cuda"):
        y = Product.apply(x)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[4.0, 4.0], [4.0, 4.0]]
