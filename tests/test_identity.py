"""A cuda tensor is what a program expects one to be."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from tests.conftest import RunPython

CUDA = torch.device("cuda:0")


def test_device_and_type() -> None:
    x = torch.ones(2, device="cuda")
    assert type(x) is torch.Tensor
    assert (x.device, x.is_cuda, x.is_cpu, x.get_device()) == (CUDA, True, False, 0)
    assert x.type() == "torch.cuda.FloatTensor"
    assert isinstance(x, torch.cuda.FloatTensor)
    assert x.layout == torch.strided
    assert repr(x) == "tensor([1., 1.], device='cuda:0')"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", 0, CUDA])
def test_ways_to_say_cuda(device: object) -> None:
    assert torch.ones(1).to(device).device == CUDA
    assert torch.ones(1).cuda(device).device == CUDA
    assert torch.nn.Linear(2, 2).to(device).weight.device == CUDA


def test_bad_ordinal() -> None:
    with pytest.raises(torch.AcceleratorError, match="CUDA error: invalid device ordinal"):
        torch.ones(1).to("cuda:3")


def test_copies_between_devices_keep_values_and_strides() -> None:
    x = torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1)
    y = x.cuda()
    assert y.stride() == x.stride()
    assert torch.equal(y.cpu(), x)
    assert y.to("cuda") is y
    assert y.to(torch.float64).device == CUDA
    host = torch.empty_like(x)
    assert torch.equal(host.copy_(y), x)
    assert torch.equal(torch.zeros_like(y).copy_(x, non_blocking=True).cpu(), x)


def test_conversions_to_python() -> None:
    x = torch.tensor([[1, 2], [3, 4]], device="cuda")
    assert x.tolist() == [[1, 2], [3, 4]]
    assert x[0, 0].item() == 1
    assert bool((x > 0).all())
    assert x.cpu().numpy().sum() == 10
    assert list(x[1]) == [3, 4]


def test_copying_and_pickling() -> None:
    x = torch.nn.Parameter(torch.arange(3.0, device="cuda"))
    twin = copy.deepcopy(x)
    assert twin.device == CUDA
    assert twin.data_ptr() != x.data_ptr()
    assert torch.equal(pickle.loads(pickle.dumps(x.detach())), x)
    buffer = io.BytesIO()
    torch.save({"x": x}, buffer)
    for location, device in ((None, CUDA), ("cpu", torch.device("cpu")), ("cuda:0", CUDA)):
        buffer.seek(0)
        loaded = torch.load(buffer, map_location=location)["x"]
        assert loaded.device == device
        assert torch.equal(loaded.cpu(), x.cpu())


def test_data_and_set() -> None:
    x = torch.ones(2, device="cuda")
    x.data = torch.zeros(3, device="cuda")
    assert x.shape == (3,)
    y = torch.empty(0, device="cuda").set_(x)
    assert y.is_set_to(x)
    z = torch.empty(0, device="cuda").set_(x.untyped_storage(), 1, (2,))
    assert z.data_ptr() == x.data_ptr() + 4
    assert x.set_().numel() == 0
    with pytest.raises(RuntimeError, match="Attempted to set the storage of a tensor on device"):
        torch.empty(0, device="cuda").set_(torch.ones(2).untyped_storage())


def test_storage() -> None:
    storage = torch.UntypedStorage(8, device="cuda")
    assert storage.device == CUDA
    assert torch.ones(4, device="cuda").untyped_storage().nbytes() == 16


def test_several_devices(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        assert torch.cuda.device_count() == 3
        a, b = torch.ones(2, device="cuda:0"), torch.ones(2, device="cuda:2")
        assert a.device != b.device and b.get_device() == 2
        c = b.to("cuda:1")
        c.add_(1)
        assert b.tolist() == [1, 1] and c.tolist() == [2, 2] and c.device.index == 1
        with torch.cuda.device(2):
            assert torch.ones(1, device="cuda").device.index == 2 and torch.cuda.current_device() == 2
        assert torch.cuda.current_device() == 0
        assert (b * 2).device.index == 2 and torch.zeros_like(b).device.index == 2
        before = torch.cuda.memory_allocated(1)
        kept = torch.ones(1000, device="cuda:1")
        assert torch.cuda.memory_allocated(1) == before + 4096
        b.requires_grad_(); (b.to("cuda:0") + a).sum().backward()
        assert b.grad.device.index == 2
        """,
        TORCHDEVICE_COUNT="3",
    )
