"""Types that CUDA's kernels know and the CPU's do not are computed in wider ones, and the results are narrow again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

X = torch.linspace(-2, 2, 64, device="cuda")

HALVES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "avg_pool3d": lambda x: F.avg_pool3d(x.view(1, 1, 4, 4, 4), 2),
    "interpolate": lambda x: F.interpolate(x.view(1, 1, 8, 8), (4, 6), mode="bilinear", antialias=True),
    "bicubic": lambda x: F.interpolate(x.view(1, 1, 8, 8), (4, 6), mode="bicubic", antialias=True),
    "multi_margin_loss": lambda x: F.multi_margin_loss(x.view(8, 8), torch.arange(8, device="cuda")),
    "multilabel_margin_loss": lambda x: F.multilabel_margin_loss(
        x.view(8, 8), torch.arange(64, device="cuda").view(8, 8) % 8
    ),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", HALVES)
def test_halves(name: str, dtype: torch.dtype) -> None:
    results = []
    for x in (X.to(dtype).requires_grad_(), X.to(dtype).float().requires_grad_()):
        y = HALVES[name](x)
        y.sum().backward()
        results.append((y, x.grad))
    (y, gradient), (wide, wide_gradient) = results
    assert y.dtype == gradient.dtype == dtype
    torch.testing.assert_close(y, wide.to(dtype))
    torch.testing.assert_close(gradient, wide_gradient.to(dtype))


def test_fourier_transforms_of_halves() -> None:
    x = X.half()
    spectrum = torch.fft.rfft(x)
    assert spectrum.dtype == torch.complex32
    torch.testing.assert_close(spectrum.to(torch.complex64), torch.fft.rfft(x.float()), rtol=1e-2, atol=1e-2)
    back = torch.fft.irfft(spectrum)
    assert back.dtype == torch.float16
    torch.testing.assert_close(back, x, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("function", [torch.exp, torch.sin, torch.sqrt, torch.sigmoid])
def test_complex_halves(function: Callable[..., torch.Tensor]) -> None:
    x = torch.view_as_complex(X.view(32, 2)).to(torch.complex32)
    expected = function(x.to(torch.complex64)).to(torch.complex32)
    assert torch.equal(function(x), expected)
    out = torch.empty(0, dtype=torch.complex32, device="cuda")
    assert function(x, out=out) is out
    assert torch.equal(out, expected)
    assert getattr(x, function.__name__ + "_")() is x
    assert torch.equal(x, expected)


def test_modulus_of_complex_halves_is_half() -> None:
    x = torch.tensor([3 + 4j], dtype=torch.complex32, device="cuda")
    assert x.angle().dtype == x.abs().dtype == torch.float16


def test_integers_and_bools() -> None:
    x = torch.tensor([1, 2, 2, 9], device="cuda")
    counts = torch.histc(x, 3, 0, 3)
    assert counts.dtype == torch.int64
    assert counts.tolist() == [0, 1, 2]
    flags = torch.eye(3, dtype=torch.bool, device="cuda")
    assert torch.equal(flags.abs(), flags)
    assert flags.trace().tolist() == 3


def test_a_type_that_cuda_lacks_too() -> None:
    with pytest.raises(NotImplementedError, match="not implemented for 'Half'"):
        torch.linalg.householder_product(X.half().view(8, 8), X.half()[:8])


def test_gradients_of_half_convolutions_are_those_of_floats() -> None:
    """The CPU's reference kernel, the only one for the weights' gradient in float16, takes 200 times as long, and adds
    up in another order."""
    torch.manual_seed(0)
    halves = [
        torch.randn(shape, device="cuda", dtype=torch.half)
        for shape in ((4, 32, 16, 16), (4, 16, 16, 16), (32, 16, 3, 3))
    ]
    options = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])
    actual = torch.ops.aten.convolution_backward(*halves, *options)
    expected = torch.ops.aten.convolution_backward(*(half.float() for half in halves), *options)
    for half, full in zip(actual[:2], expected[:2], strict=True):
        assert half.dtype == torch.half
        assert torch.equal(half, full.half())
