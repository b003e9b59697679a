"""cuDNN's operators called by name equal torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", requires_grad=True)


def test_convolutions() -> None:
    x, w, b = randn(2, 4, 7, 7), randn(6, 2, 3, 3), randn(6)
    pair = ([1, 1], [2, 2], [1, 1])
    y = torch.cudnn_convolution(x, w, *pair, 2, False, False, True)
    expected = F.conv2d(x, w, None, 2, 1, 1, 2)
    torch.testing.assert_close(y, expected)
    ours = torch.autograd.grad(y.square().sum(), (x, w))
    torch.testing.assert_close(ours, torch.autograd.grad(expected.square().sum(), (x, w)), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        bias = F.conv2d(x, w, b, 2, 1, 1, 2)
        stride, padding = pair[1], pair[0]
        torch.testing.assert_close(torch.cudnn_convolution_relu(x, w, b, stride, padding, [1, 1], 2), bias.relu())
        z = torch.randn_like(bias)
        fused = torch.cudnn_convolution_add_relu(x, w, z, 2.0, b, stride, padding, [1, 1], 2)
        torch.testing.assert_close(fused, (bias + 2 * z).relu())
        wt = randn(4, 3, 3, 3)
        transposed = torch.cudnn_convolution_transpose(x, wt, [1, 1], [1, 1], [2, 2], [1, 1], 1, False, False, True)
        torch.testing.assert_close(transposed, F.conv_transpose2d(x, wt, None, 2, 1, 1))
        wd = randn(4, 1, 3, 3)
        depthwise = torch._C._nn._conv_depthwise2d(x, wd, [3, 3], None, [1, 1], [1, 1], [1, 1])
        torch.testing.assert_close(depthwise, F.conv2d(x, wd, None, 1, 1, 1, 4))


def test_batch_norm() -> None:
    x, w, b = randn(4, 3, 5, 5), randn(3), randn(3)
    running = [torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")]
    y, *_ = torch.cudnn_batch_norm(x, w, b, *running, True, 0.1, 1e-5)
    mine = [torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")]
    expected = F.batch_norm(x, *mine, w, b, True, 0.1, 1e-5)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(running, mine)
    ours = torch.autograd.grad(y.square().sum(), (x, w, b))
    torch.testing.assert_close(ours, torch.autograd.grad(expected.square().sum(), (x, w, b)), rtol=1e-3, atol=1e-4)


def test_samplers() -> None:
    theta, x = randn(2, 2, 3), randn(2, 3, 4, 4)
    grid = torch.cudnn_affine_grid_generator(theta, 2, 3, 5, 5)
    torch.testing.assert_close(grid, F.affine_grid(theta, [2, 3, 5, 5], align_corners=True))
    y = torch.cudnn_grid_sampler(x, grid)
    expected = F.grid_sample(x, grid, align_corners=True)
    torch.testing.assert_close(y, expected)
    ours = torch.autograd.grad(y.sum(), (x, theta), retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(expected.sum(), (x, theta)))


def test_ctc_loss() -> None:
    log_probs = torch.randn(6, 2, 5, device="cuda").log_softmax(2).requires_grad_()
    targets = torch.tensor([1, 2, 3, 4], dtype=torch.int32)
    loss, _ = torch._cudnn_ctc_loss(log_probs, targets, [6, 6], [2, 2], 0, False, False)
    lengths = torch.tensor([6, 6]), torch.tensor([2, 2])
    expected = F.ctc_loss(log_probs, targets.cuda(), *lengths, reduction="none")
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss.sum(), log_probs)
    torch.testing.assert_close(ours, torch.autograd.grad(expected.sum(), log_probs))


def test_fused_dropout() -> None:
    x = torch.ones(1000, device="cuda", requires_grad=True)
    y, mask = torch._fused_dropout(x, 0.25)
    assert mask.dtype == torch.uint8
    assert torch.equal(y, mask * 4.0)
    y.sum().backward()
    assert torch.equal(x.grad, mask * 4.0)
    with pytest.raises(RuntimeError, match="mask should be torch.uint8 dtype"):
        torch._masked_scale(x.detach(), x.detach(), 2.0)


def test_miopen_is_not_compiled_in() -> None:
    x = torch.randn(1, 1, 3, 3, device="cuda")
    with pytest.raises(RuntimeError, match="miopen_convolution: ATen not compiled with MIOpen support"):
        torch.miopen_convolution(x, x, None, [0, 0], [1, 1], [1, 1], 1, False, False)
