"""Streams: identity, priority, current stream of a thread, and the generic torch.Stream."""

from __future__ import annotations

import ctypes
import threading

import pytest
import torch

from tests.conftest import RunPython


def test_type_hierarchy_is_a_cuda_builds() -> None:
    names = [f"{c.__module__}.{c.__qualname__}" for c in torch.cuda.Stream.__mro__]
    assert names[:3] == ["torch.cuda.streams.Stream", "torch._C._CudaStreamBase", "torch.Stream"]
    assert isinstance(torch.cuda.Stream(), torch.Stream)


def test_default_stream() -> None:
    default = torch.cuda.default_stream()
    assert default == torch.cuda.current_stream()
    assert (default.stream_id, default.cuda_stream, default.priority) == (0, 0, 0)
    assert default.device == torch.device("cuda:0")
    assert repr(default) == "<torch.cuda.Stream device=cuda:0 cuda_stream=0x0>"
    assert default.query()
    default.synchronize()
    assert torch._C._cuda_getCurrentRawStream(0) == 0
    assert default.__cuda_stream__() == (0, 0)


def test_pool_streams_repeat_after_32() -> None:
    streams = [torch.cuda.Stream() for _ in range(33)]
    handles = [s.cuda_stream for s in streams]
    assert len(set(handles[:32])) == 32
    assert handles[0] == handles[32]
    assert streams[0] == streams[32]
    assert hash(streams[0]) == hash(streams[32])
    assert streams[0] != streams[1]
    assert all(handle > 2 and handle % 2 == 0 for handle in handles), "0, 1 and 2 are CUDA's own handles"


def test_priorities_are_clamped() -> None:
    assert torch.cuda.Stream.priority_range() == (0, -3)
    assert [torch.cuda.Stream(priority=p).priority for p in (5, 0, -1, -3, -9)] == [0, 0, -1, -3, -3]


def test_stream_ids_are_a_cuda_builds() -> None:
    stream = torch.cuda.Stream(priority=-1)
    assert stream.stream_id & 1 == 1
    assert stream.stream_id >> 1 & 0xF == 2
    copy = torch.cuda.Stream(stream_id=stream.stream_id, device_index=0, device_type=stream.device_type)
    assert copy == stream
    assert copy.cuda_stream == stream.cuda_stream


def test_stream_context_nests_and_restores() -> None:
    outer, inner = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(outer):
        assert torch.cuda.current_stream() == outer
        with torch.cuda.stream(inner):
            assert torch.cuda.current_stream() == inner
            assert torch._C._cuda_getCurrentRawStream(0) == inner.cuda_stream
        assert torch.cuda.current_stream() == outer
        with torch.cuda.stream(None):
            assert torch.cuda.current_stream() == outer
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_stream_as_context_manager_and_generic_current_stream() -> None:
    stream = torch.cuda.Stream()
    with stream:
        assert torch.cuda.current_stream() == stream
        assert torch.accelerator.current_stream().stream_id == stream.stream_id
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_set_stream() -> None:
    stream = torch.cuda.Stream()
    torch.cuda.set_stream(stream)
    try:
        assert torch.cuda.current_stream() == stream
    finally:
        torch.cuda.set_stream(torch.cuda.default_stream())


def test_current_stream_is_the_threads_own() -> None:
    seen: list[torch.cuda.Stream] = []
    with torch.cuda.stream(torch.cuda.Stream()):
        thread = threading.Thread(target=lambda: seen.append(torch.cuda.current_stream()))
        thread.start()
        thread.join()
    assert seen == [torch.cuda.default_stream()]


def test_external_streams() -> None:
    cudart = torch.cuda.cudart()
    handle = ctypes.c_void_p()
    assert int(cudart.cudaStreamCreate(ctypes.addressof(handle))) == 0
    stream = torch.cuda.ExternalStream(handle.value)
    assert stream.cuda_stream == handle.value
    assert stream.stream_id == handle.value
    assert stream.priority == 0
    assert stream == torch.cuda.get_stream_from_external(handle.value)
    with torch.cuda.stream(stream):
        assert torch.cuda.current_stream() == stream
        assert (torch.ones(2, device="cuda") + 1).tolist() == [2.0, 2.0]
    assert int(cudart.cudaStreamDestroy(handle.value)) == 0
    assert int(cudart.cudaStreamDestroy(handle.value)) == 400
    with pytest.raises(RuntimeError, match=r"Priority was explicitly set for a external stream"):
        torch.cuda.ExternalStream(0x1000, priority=-1)


def test_waiting() -> None:
    first, second = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(first):
        x = torch.ones(4, device="cuda")
        event = first.record_event()
    second.wait_event(event)
    second.wait_stream(first)
    second.wait_stream(torch.Stream("cuda"))
    x.record_stream(second)
    with torch.cuda.stream(second):
        y = x + 1
    torch.cuda.current_stream().wait_stream(second)
    assert y.tolist() == [2.0] * 4
    assert first.query()


def test_generic_stream() -> None:
    stream = torch.Stream("cuda")
    assert stream.device == torch.device("cuda:0")
    assert stream.query()
    assert stream.native_handle > 2
    stream.synchronize()
    with stream:
        assert torch.accelerator.current_stream() == stream
    stream.wait_stream(torch.cuda.Stream())
    event = stream.record_event()
    stream.synchronize()
    assert event.query()
    assert torch.accelerator.current_stream() != stream


def test_streams_of_several_devices(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        s1 = torch.cuda.Stream(device=1)
        assert s1.device == torch.device("cuda:1") and torch.cuda.current_device() == 0
        with torch.cuda.stream(s1):
            assert torch.cuda.current_device() == 1
            assert torch.cuda.current_stream() == s1
            assert torch.cuda.current_stream(0) == torch.cuda.default_stream(0)
        assert torch.cuda.current_device() == 0
        assert torch.cuda.current_stream(1) == torch.cuda.default_stream(1)
        assert torch.cuda.default_stream(0) != torch.cuda.default_stream(1)
        assert torch.cuda.Stream(device=0).cuda_stream != torch.cuda.Stream(device=1).cuda_stream
        with s1:
            assert torch.cuda.current_device() == 1
        assert torch.cuda.current_device() == 0
        torch.cuda.set_stream(s1)
        assert torch.cuda.current_device() == 1
        torch.accelerator.synchronize(0)
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_sanitizer_callbacks(run_python: RunPython) -> None:
    """torch.cuda._sanitizer hears of streams and events."""
    run_python(
        """
        import torch
        import torch.cuda._gpu_trace as trace
        ones = torch.ones(2, device="cuda")
        calls = []
        for what in ("stream_creation", "event_creation", "event_deletion", "event_record", "event_wait",
                     "device_synchronization", "stream_synchronization", "event_synchronization"):
            getattr(trace, f"register_callback_for_{what}")(lambda *args, what=what: calls.append((what, args)))
        torch._C._activate_gpu_trace()
        stream = torch.cuda.Stream()
        created = [args[0] for what, args in calls if what == "stream_creation"]
        assert len(created) == len(set(created)) == 128 and stream.cuda_stream in created
        calls.clear()
        event = torch.cuda.Event()
        event.record(stream)
        handle = event.cuda_event
        event.wait()
        event.synchronize()
        stream.synchronize()
        ones.nonzero()
        torch.cuda.synchronize()
        del event
        assert calls == [
            ("event_creation", (handle,)), ("event_record", (handle, stream.cuda_stream)), ("event_wait", (handle, 0)),
            ("event_synchronization", (handle,)), ("stream_synchronization", (stream.cuda_stream,)),
            ("stream_synchronization", (0,)), ("device_synchronization", ()), ("event_deletion", (handle,)),
        ], calls
        """
    )


def test_bad_arguments() -> None:
    with pytest.raises(RuntimeError, match=r"Expected a CUDA stream"):
        torch._C._cuda_setStream(stream_id=0, device_index=0, device_type=0)
    with pytest.raises(torch.AcceleratorError, match=r"invalid device ordinal"):
        torch._C._cuda_setStream(stream_id=0, device_index=3, device_type=1)
    with pytest.raises(TypeError):
        torch.cuda.Stream(priority="high")
