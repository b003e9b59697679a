"""DLPack, __cuda_array_interface__, NumPy, safetensors, and tensors that exchange their memory.

The refusals are those of torch/_tensor.py and of the C++ behind it, which a CUDA build shares.
"""

from __future__ import annotations

import ctypes
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

from torchdevice import _C

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


BEYOND = r"^CUDA error: an illegal memory access was encountered\n"


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (1 << 40,), "strides": None},
        {"shape": (2, 2), "strides": (1 << 40, 4)},
        {"shape": (1 << 20, 1 << 20), "strides": (0, 1 << 20)},
    ],
)
def test_an_interface_that_says_more_than_there_is(change: dict[str, Any]) -> None:
    """As on a GPU, the first use notices. An address within CUDA's memory is as good as any other there too."""
    x = torch.arange(6.0, device="cuda")
    array = torch.as_tensor(Array({**interface(x), **change}))
    uses: list[Callable[[], Any]] = [
        lambda: array[:1].clone(),
        lambda: array.view(-1)[0].item() if array.is_contiguous() else array[0, 0].item(),
        lambda: array[0].cpu(),
        lambda: array.untyped_storage()[0],
        lambda: array.untyped_storage()._share_cuda_(),
    ]
    if array.dim() == 2 and len(array) < 1 << 20:
        target = torch.empty(len(array), device="cuda")
        uses += [lambda: target.copy_(array[:, 0]), lambda: array[:, 0].normal_()]
    for use in uses:
        with pytest.raises(torch.AcceleratorError, match=BEYOND):
            use()
    # What it stands over is unharmed, and so is CUDA.
    assert x.tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.as_tensor(Array(interface(x))).sum() == 15


def test_memory_that_operators_reach_without_a_native_kernel() -> None:
    x = torch.zeros(4, device="cuda")
    array = torch.as_tensor(Array({**interface(x), "shape": (1 << 40,)}))
    for use in (
        lambda: array[:4].copy_(x),
        lambda: x.copy_(array[:4]),
        lambda: array[:4].uniform_(),
        lambda: array[:4].bernoulli_(x),
        lambda: torch.empty(4, device="cuda").bernoulli_(array[:4]),
        lambda: torch.native_dropout(array[:4], 0.5, True),
    ):
        with pytest.raises(torch.AcceleratorError, match=BEYOND):
            use()


def test_no_memory_at_all() -> None:
    x = torch.ones(4, device="cuda")
    array = torch.as_tensor(Array({**interface(x), "data": (0, False)}))
    with pytest.raises(torch.AcceleratorError, match=BEYOND):
        array.sum()
    empty = torch.as_tensor(Array({**interface(x), "data": (0, False), "shape": (0,)}))
    assert empty.tolist() == []


class DLTensor(ctypes.Structure):
    """Of dlpack.h; the first member of what a capsule holds."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("dtype", ctypes.c_uint32),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
    )  # fmt: skip


def described(capsule: Any) -> DLTensor:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return DLTensor.from_address(pointer(capsule, b"dltensor"))


def test_a_capsule_that_says_more_than_there_is() -> None:
    capsule = torch.to_dlpack(torch.arange(6.0, device="cuda"))
    described(capsule).shape[0] = 1 << 40
    tensor = torch.from_dlpack(capsule)
    with pytest.raises(torch.AcceleratorError, match=BEYOND):
        tensor[:3].tolist()


def test_a_capsule_of_the_hosts_memory() -> None:
    host = torch.ones(4)
    capsule = torch.to_dlpack(torch.arange(4.0, device="cuda"))
    described(capsule).data = host.data_ptr()
    with pytest.raises(torch.AcceleratorError, match=BEYOND):
        torch.from_dlpack(capsule).sum()
    pinned = torch.ones(4).pin_memory()
    if pinned.is_pinned() and _C.native_backend_name() == "cpu":
        capsule = torch.to_dlpack(torch.arange(4.0, device="cuda"))
        described(capsule).data = pinned.data_ptr()
        assert torch.from_dlpack(capsule).sum() == 4  # a GPU reads that memory too


@pytest.mark.parametrize("device", [1, 63, 99, 127, 128, 300, -2])
def test_a_capsule_of_a_device_that_there_is_not(device: int) -> None:
    capsule = torch.to_dlpack(torch.arange(4.0, device="cuda"))
    described(capsule).device_id = device
    with pytest.raises((RuntimeError, torch.AcceleratorError), match=r"device"):
        torch.from_dlpack(capsule).sum().item()


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
