"""DLPack, __cuda_array_interface__, NumPy, safetensors, and tensors that exchange their memory.

The refusals are those of torch/_tensor.py and of the C++ behind it, which a CUDA build shares.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.utils import dlpack

CUDA = torch.device("cuda:0")


class Array:
    """Any object with CUDA's array interface."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__cuda_array_interface__ = interface


def interface(tensor: torch.Tensor) -> dict[str, Any]:
    result: dict[str, Any] = tensor.__cuda_array_interface__
    return result


def test_dlpack_shares_memory() -> None:
    x = torch.arange(6.0, device="cuda").view(2, 3).t()
    assert x.__dlpack_device__() == (2, 0)  # kDLCUDA
    for again in (torch.from_dlpack(x), dlpack.from_dlpack(dlpack.to_dlpack(x)), torch.from_dlpack(x, copy=False)):
        assert (again.device, again.data_ptr(), again.stride()) == (CUDA, x.data_ptr(), x.stride())
    again = torch.from_dlpack(x)
    again.add_(1)
    assert x[0, 0] == 1
    del x
    assert again.sum() == 21


def test_dlpack_copies_and_moves() -> None:
    x = torch.arange(3.0, device="cuda")
    copy = torch.from_dlpack(x, copy=True)
    assert (copy.device, copy.data_ptr() == x.data_ptr()) == (CUDA, False)
    host = torch.from_dlpack(x, device="cpu")
    assert (host.device.type, host.tolist()) == ("cpu", [0, 1, 2])
    assert torch.from_dlpack(torch.ones(2), device="cuda").device == CUDA
    with pytest.raises(ValueError, match=r"^cannot move DLPack tensor from device .* without copying"):
        torch.from_dlpack(x, device="cpu", copy=False)


def test_dlpack_streams() -> None:
    x = torch.ones(2, device="cuda")
    for stream in (None, -1, 1, torch.cuda.Stream().cuda_stream):
        assert type(x.__dlpack__(stream=stream)).__name__ == "PyCapsule"
    with pytest.raises(AssertionError, match=r"^unsupported stream on CUDA: 0\.$"):
        x.__dlpack__(stream=0)
    with pytest.raises(BufferError, match=r"^per-thread default stream is not supported\.$"):
        x.__dlpack__(stream=2)
    with pytest.raises(TypeError, match=r"^stream must be ``int`` or ``none``$"):
        x.__dlpack__(stream="1")


def test_dlpack_refusals() -> None:
    with pytest.raises(BufferError, match=r"^Can't export tensors that require gradient, use tensor\.detach\(\)$"):
        torch.from_dlpack(torch.ones(2, device="cuda", requires_grad=True))
    with pytest.raises((BufferError, RuntimeError), match=r"[Uu]nsupported device"):
        np.from_dlpack(torch.ones(2, device="cuda"))


def test_numpy_refuses_until_told() -> None:
    x = torch.arange(3.0, device="cuda")
    text = r"^can't convert cuda:0 device type tensor to numpy\. Use Tensor\.cpu\(\) to copy"
    for convert in (x.numpy, lambda: np.asarray(x), lambda: np.array([x, x])):
        with pytest.raises((TypeError, ValueError), match=text):
            convert()
    assert x.numpy(force=True).tolist() == [0, 1, 2]
    assert x.tolist() == [0, 1, 2]
    assert torch.as_tensor(np.arange(3), device="cuda").device == CUDA


def test_cuda_array_interface() -> None:
    x = torch.arange(6.0, device="cuda").view(2, 3)
    expected = {"typestr": "<f4", "shape": (2, 3), "strides": None, "data": (x.data_ptr(), False), "version": 2}
    assert interface(x) == expected
    assert interface(x.t())["strides"] == (4, 12)
    assert interface(x[:0])["data"] == (0, False)
    with pytest.raises(AttributeError, match=r"^Can't get __cuda_array_interface__ on non-CUDA tensor type: torch\.Fl"):
        interface(torch.ones(2))
    with pytest.raises(RuntimeError, match=r"^Can't get __cuda_array_interface__ on Variable that requires grad"):
        interface(torch.ones(2, device="cuda", requires_grad=True))


def test_objects_with_a_cuda_array_interface() -> None:
    x = torch.arange(6.0, device="cuda").view(2, 3).t()
    array = Array(interface(x))
    for again in (torch.as_tensor(array), torch.as_tensor(array, device="cuda")):
        assert (again.device, again.data_ptr(), again.stride()) == (CUDA, x.data_ptr(), x.stride())
    assert torch.as_tensor(array, device="cpu").tolist() == x.tolist()
    assert torch.as_tensor(array, dtype=torch.float64).dtype is torch.float64
    assert torch.tensor(array, device="cuda").data_ptr() != x.data_ptr()
    host = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"^The specified pointer resides on host memory and is not registered with"):
        torch.as_tensor(Array({**interface(x), "shape": (2,), "strides": None, "data": (host.data_ptr(), False)}))


def test_the_array_keeps_its_owner_alive() -> None:
    again = torch.as_tensor(Array(interface(owner := torch.arange(3.0, device="cuda"))), device="cuda")
    assert again.sum() == owner.sum()


def test_two_devices(run_python: Callable[..., Any]) -> None:
    run_python(
        """
        import torch
        x = torch.arange(3.0, device="cuda:1")
        assert x.__dlpack_device__() == (2, 1)
        try:
            torch.from_dlpack(x)
        except BufferError as error:
            text = "Can't export tensors on a different CUDA device index. Expected: 1. Current device: 0."
            assert str(error) == text, error
        with torch.cuda.device(1):
            again = torch.from_dlpack(x)
            assert (again.device, again.data_ptr()) == (x.device, x.data_ptr())

        class Array:
            __cuda_array_interface__ = x.__cuda_array_interface__

        again = torch.as_tensor(Array())
        assert (again.device, again.data_ptr()) == (x.device, x.data_ptr())
        assert torch.as_tensor(Array(), device="cuda:0").device == torch.device("cuda:0")
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_safetensors(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    tensors = {
        "a": torch.arange(6.0, device="cuda").view(2, 3),
        "b": torch.ones(2, device="cuda", dtype=torch.bfloat16),
    }
    safetensors.torch.save_file(tensors, file)
    for device in ("cpu", "cuda", "cuda:0", 0):
        loaded = safetensors.torch.load_file(file, device=device)
        assert {t.device for t in loaded.values()} == {torch.device("cpu" if device == "cpu" else CUDA)}
        assert all(torch.equal(loaded[name].cpu(), tensor.cpu()) for name, tensor in tensors.items())
    with safetensors.safe_open(file, "pt", device="cuda:0") as opened:
        assert torch.equal(opened.get_tensor("a"), tensors["a"])
        part = opened.get_slice("a")[:, 1:]
        assert (part.device, part.tolist()) == (CUDA, [[1, 2], [4, 5]])
    model = nn.Linear(3, 2).cuda()
    safetensors.torch.save_model(model, str(file))
    again = nn.Linear(3, 2).cuda()
    safetensors.torch.load_model(again, file, device="cuda")
    assert torch.equal(again.weight, model.weight)


def test_safetensors_on_the_second_device(run_python: Callable[..., Any], tmp_path: Path) -> None:
    code = f"""
    import safetensors.torch, torch
    torch.cuda.set_device(1)
    file = {str(tmp_path / "model.safetensors")!r}
    safetensors.torch.save_file({{"a": torch.arange(3.0, device="cuda:1")}}, file)
    for asked, index in ((1, 1), ("cuda:1", 1), ("cuda:0", 0), ("cuda", 0)):
        loaded = safetensors.torch.load_file(file, device=asked)["a"]
        assert (loaded.device.index, loaded.tolist()) == (index, [0, 1, 2]), (asked, loaded)
    """
    run_python(code, TORCHDEVICE_COUNT="2")


def test_swap_tensors() -> None:
    there, here = torch.ones(2, device="cuda"), torch.zeros(3)
    torch.utils.swap_tensors(there, here)
    assert (there.device.type, there.shape, here.device.type, here.tolist()) == ("cpu", (3,), "cuda", [1, 1])


def test_setting_data() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.data = torch.zeros(3, device="cuda")
    assert (parameter.device, parameter.shape, parameter.requires_grad) == (CUDA, (3,), True)
    (parameter * 2).sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.device == CUDA
    parameter.grad = None
    parameter.data = parameter.data.cpu()
    assert parameter.device.type == "cpu"
    with pytest.raises(RuntimeError, match=r"have incompatible tensor type\.$"):
        parameter.data = torch.eye(2).to_sparse()
