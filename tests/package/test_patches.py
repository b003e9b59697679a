"""The changes to torch's Python side: all of them are listed, applied together, and can be taken back."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import RunPython
from torchdevice import patches


def test_every_patch_says_why() -> None:
    assert len({patch.target for patch in patches.PATCHES}) == len(patches.PATCHES)
    assert all(len(patch.reason) > 10 for patch in patches.PATCHES)


def test_classes_that_torch_captured_are_the_new_ones() -> None:
    assert torch.cuda.Stream is torch.cuda.streams.Stream
    assert torch.cuda.Stream.__bases__ == (torch._C._CudaStreamBase,)
    assert torch.cuda.Event.__bases__ == (torch._C._CudaEventBase,)
    assert torch.cuda.is_current_stream_capturing is torch.cuda.graphs.is_current_stream_capturing
    assert torch.cuda.mem_get_info is torch.cuda.memory.mem_get_info
    assert torch.cuda._exchange_device is torch._C._cuda_exchangeDevice
    assert torch._C._cuda_exchangeDevice is not torch._C._cuda_maybeExchangeDevice
    assert torch._C._cuda_getDevice.__module__ == "torch._C"


def test_undo_takes_everything_back(run_python: RunPython) -> None:
    run_python(
        """
        import torch, torch.multiprocessing
        from multiprocessing import reduction
        import torch.profiler.profiler as profiler, torch.utils.cpp_extension as cpp_extension
        modules = [torch.cuda, torch.cuda.streams, torch.cuda.graphs, torch.cuda.memory, torch.cuda.nvtx, torch.version]
        cudnn = torch.backends.cudnn
        kind, kineto = type(cudnn), profiler._KinetoProfile.__init__
        modules += [torch.cuda._utils, cudnn.m, cudnn.rnn.m, torch.profiler, profiler, cpp_extension]
        assert cudnn.version() is None
        before = [dict(vars(module)) for module in modules]
        set_type, reducers = torch._C._set_default_tensor_type, dict(reduction.ForkingPickler._extra_reducers)
        new = torch.cuda.FloatTensor.__new__
        import torchdevice
        from torchdevice import patches
        torchdevice.activate()
        assert torch.UntypedStorage(4, device="cuda").device.type == "cuda"
        patches.apply()  # the second time does nothing
        assert torch.backends.cudnn is cudnn is __import__("sys").modules["torch.backends.cudnn"]
        assert cudnn.version() and cudnn.benchmark_limit == 10 and type(cudnn) is not kind
        patches.undo()
        for module, names in zip(modules, before):
            now = vars(module)
            changed = {name for name in names.keys() | now.keys() if names.get(name) is not now.get(name)}
            changed -= {"_initialized", "_cached_device_count", "default_generators", "_get_device_properties"}
            assert not changed, (module, changed)
        assert type(cudnn) is kind and profiler._KinetoProfile.__init__ is kineto
        assert cudnn.version() is None and not torch._C._has_cudnn and cudnn.benchmark_limit is None
        assert torch._C._set_default_tensor_type is set_type and not torch._C._has_cuda
        assert reduction.ForkingPickler._extra_reducers == reducers
        assert "resize_" not in vars(torch.UntypedStorage)
        try:
            torch.UntypedStorage(4, device="cuda")
        except RuntimeError as error:
            assert "Storage device not recognized: cuda" in str(error)
        else:
            raise AssertionError
        patches.apply()
        assert torch.UntypedStorage(4, device="cuda").resize_(8).nbytes() == 8
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_fake_convolutions_have_the_native_convolutions_strides(dims: int) -> None:
    from torch._subclasses import FakeTensorMode

    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(dims, torch.contiguous_format)
    for batch in (1, 17):
        x = torch.randn(batch, 4, *[6] * dims, device="cuda").to(memory_format=last)
        weight = torch.randn(4, 4, *[2] * dims, device="cuda")
        arguments = (None, [1] * dims, [0] * dims, [1] * dims, False, [0] * dims, 1)
        with FakeTensorMode() as mode:
            fake = torch.convolution(mode.from_tensor(x), mode.from_tensor(weight), *arguments)
        assert torch.convolution(x, weight, *arguments).stride() == fake.stride()
