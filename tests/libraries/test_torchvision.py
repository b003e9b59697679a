"""torchvision's operators and a model of its, on cuda against the CPU. A CUDA build of it brings kernels for a GPU."""

from __future__ import annotations

import pytest
import torch

torchvision = pytest.importorskip("torchvision", exc_type=ImportError)

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [8.0, 8.0, 15.0, 15.0]])


def test_nms() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7])
    kept = torchvision.ops.nms(BOXES.cuda(), scores.cuda(), 0.5)
    assert kept.is_cuda
    assert kept.tolist() == torchvision.ops.nms(BOXES, scores, 0.5).tolist() == [0, 2]


def test_roi_align_with_gradients() -> None:
    image = torch.randn(1, 3, 16, 16)
    results = []
    for device in ("cpu", "cuda"):
        x = image.clone().to(device).requires_grad_()
        y = torchvision.ops.roi_align(x, [BOXES.to(device)], output_size=4)
        y.square().sum().backward()
        assert x.grad is not None
        results.append((y.cpu(), x.grad.cpu()))
    torch.testing.assert_close(*results)


def test_deformable_convolution_with_gradients() -> None:
    image, offset, weight = torch.randn(1, 3, 9, 9), torch.randn(1, 18, 7, 7), torch.randn(5, 3, 3, 3)
    results = []
    for device in ("cpu", "cuda"):
        arguments = [value.clone().to(device).requires_grad_() for value in (image, offset, weight)]
        y = torchvision.ops.deform_conv2d(*arguments)
        y.square().sum().backward()
        results.append([y.cpu(), *(argument.grad.cpu() for argument in arguments if argument.grad is not None)])
    torch.testing.assert_close(*results)


def test_a_network_trains() -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=4).cuda()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    images, labels = torch.randn(4, 3, 32, 32, device="cuda"), torch.arange(4, device="cuda")
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
