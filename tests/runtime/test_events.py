"""Events: record, wait, query, time, and their errors."""

from __future__ import annotations

import time

import pytest
import torch

from tests.conftest import RunPython


def test_type_hierarchy_is_a_cuda_builds() -> None:
    names = [f"{c.__module__}.{c.__qualname__}" for c in torch.cuda.Event.__mro__]
    assert names[:3] == ["torch.cuda.streams.Event", "torch._C._CudaEventBase", "torch.Event"]
    assert isinstance(torch.cuda.Event(), torch.Event)


def test_an_event_is_made_by_its_first_record() -> None:
    event = torch.cuda.Event()
    assert event.device is None
    assert event.cuda_event == 0
    assert repr(event) == "<torch.cuda.Event uninitialized>"
    assert event.query()
    event.synchronize()
    event.wait()
    event.record()
    assert event.device == torch.device("cuda:0")
    assert event.cuda_event == event.event_id != 0
    assert repr(event) == f"<torch.cuda.Event {event.cuda_event:#x}>"
    handle = event.cuda_event
    event.record(torch.cuda.Stream())
    assert event.cuda_event == handle
    event.synchronize()
    assert event.query()


def test_elapsed_time_is_the_hosts_clock() -> None:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before = time.perf_counter()
    start.record()
    time.sleep(0.02)
    end.record()
    torch.cuda.synchronize()
    passed = (time.perf_counter() - before) * 1e3
    assert 20 <= start.elapsed_time(end) <= passed
    assert end.elapsed_time(start) == -start.elapsed_time(end)


def test_a_second_record_moves_the_event() -> None:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    end.record()
    start.record()
    torch.cuda.synchronize()
    assert start.elapsed_time(end) <= 0
    end.record()
    torch.cuda.synchronize()
    assert start.elapsed_time(end) >= 0


def test_elapsed_time_errors() -> None:
    timed, untimed = torch.cuda.Event(enable_timing=True), torch.cuda.Event()
    with pytest.raises(ValueError, match=r"^Both events must be recorded before calculating elapsed time.$"):
        timed.elapsed_time(torch.cuda.Event(enable_timing=True))
    timed.record()
    untimed.record()
    with pytest.raises(ValueError, match=r"^Both events must be created with argument 'enable_timing=True'.$"):
        timed.elapsed_time(untimed)
    with pytest.raises(TypeError, match=r"expected a torch.cuda.Event, but got int"):
        timed.elapsed_time(3)


def test_wrong_stream_types() -> None:
    event = torch.cuda.Event()
    with pytest.raises(TypeError, match=r"^record\(\): expected a torch.cuda.Stream, but got str$"):
        event.record("stream")
    with pytest.raises(TypeError, match=r"^wait\(\): expected a torch.cuda.Stream, but got int$"):
        event.wait(1)
    event.record(torch.Stream("cuda"))
    assert event.device == torch.device("cuda:0")


def test_interprocess_events() -> None:
    """The codes of the refusals are from CUDA's documentation, and were not compared with a GPU."""
    event = torch.cuda.Event(interprocess=True)
    handle = event.ipc_handle()
    assert (len(handle), event.device) == (64, torch.device("cuda:0"))
    copy = torch.cuda.Event.from_ipc_handle(torch.device("cuda:0"), handle)
    assert (type(copy), copy.device) == (torch.cuda.Event, torch.device("cuda:0"))
    copy.wait()
    copy.synchronize()
    assert copy.query()
    copy.record()
    assert len(copy.ipc_handle()) == 64
    with pytest.raises(torch.AcceleratorError, match=r"CUDA error: invalid resource handle"):
        torch.cuda.Event().ipc_handle()
    with pytest.raises(torch.AcceleratorError, match=r"CUDA error: invalid argument"):
        torch.cuda.Event(enable_timing=True, interprocess=True).record()
    with pytest.raises(torch.AcceleratorError, match=r"CUDA error: invalid argument"):
        torch.cuda.Event.from_ipc_handle(torch.device("cuda:0"), bytes(64))
    with pytest.raises(RuntimeError, match=r"^cudaIpcEventHandle_t expects byte-like object of size 64, but got 3"):
        torch.cuda.Event.from_ipc_handle(torch.device("cuda:0"), b"abc")
    with pytest.raises(RuntimeError, match=r"^Event can only be created on CUDA devices, but got device type cpu"):
        torch.cuda.Event.from_ipc_handle(torch.device("cpu"), handle)


def test_generic_events() -> None:
    start, end = torch.Event("cuda", enable_timing=True), torch.Event("cuda", enable_timing=True)
    start.record()
    end.record(torch.Stream("cuda"))
    end.wait(torch.cuda.Stream())
    end.synchronize()
    assert start.query()
    assert start.elapsed_time(end) >= 0
    assert end.device == torch.device("cuda:0")


def test_arguments() -> None:
    torch.cuda.Event(enable_timing=True, blocking=True, interprocess=False, external=True).record()
    with pytest.raises(TypeError):
        torch.cuda.Event(timing=True)


def test_events_of_several_devices(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        e0, e1 = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        e0.record(torch.cuda.current_stream(0))
        e1.record(torch.cuda.current_stream(1))
        assert e1.device == torch.device("cuda:1")
        torch.cuda.current_stream(0).wait_event(e1)
        for action, kind, text in (
            (lambda: e0.record(torch.cuda.current_stream(1)), RuntimeError,
             "Event device 0 does not match recording stream's device 1."),
            (lambda: e0.elapsed_time(e1), torch.AcceleratorError, "CUDA error: invalid resource handle"),
        ):
            try:
                action()
            except kind as error:
                assert str(error).startswith(text), error
            else:
                raise AssertionError(text)
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_events_may_outlive_the_interpreter(run_python: RunPython) -> None:
    run_python(
        """
        import sys, torch
        sys.keep = torch.cuda.Event()
        sys.keep.record()
        """
    )
