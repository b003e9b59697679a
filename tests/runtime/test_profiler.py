"""torch's profilers on cuda tensors: device time per operator, without warnings and without NVIDIA's tools."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from tests.conftest import RunPython


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def train_step() -> None:
    model, x = torch.nn.Linear(64, 64).cuda(), torch.ones(64, 64, device="cuda")
    model(x).sum().backward()


def events(result: Any) -> dict[str, object]:
    return {event.key: event for event in result.key_averages()}


@pytest.mark.parametrize(
    "activities", [None, [ProfilerActivity.CPU, ProfilerActivity.CUDA], [ProfilerActivity.CUDA]], ids=str
)
def test_operators_have_device_time(activities: Any) -> None:
    with profile(activities=activities, record_shapes=True) as result, record_function("step"):
        train_step()
    seen = events(result)
    assert {"step", "aten::linear", "aten::addmm", "AddmmBackward0"} <= seen.keys()
    assert seen["aten::addmm"].device_time_total > 0
    assert seen["aten::linear"].device_time_total >= seen["aten::addmm"].device_time_total
    assert seen["aten::linear"].self_device_time_total < seen["aten::linear"].device_time_total
    # Device time is the host's: work is done when the operator returns.
    assert seen["aten::addmm"].device_time_total <= seen["aten::addmm"].cpu_time_total + 1000


@pytest.mark.parametrize(
    "key", ["cuda_time_total", "self_cuda_time_total", "device_time_total", "self_device_time_total"]
)
def test_tables_sort_by_device_time(key: str) -> None:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as result:
        train_step()
    table = result.key_averages().table(sort_by=key, row_limit=20)
    assert "Self CUDA time total" in table
    assert "CUDA total" in table
    assert "aten::addmm" in table


def test_a_trace_has_no_device_events(tmp_path: Path) -> None:
    with profile() as result:
        train_step()
    result.export_chrome_trace(str(tmp_path / "trace.json"))
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    categories = {event.get("cat") for event in trace}
    assert "cpu_op" in categories
    assert not categories & {"kernel", "gpu_memcpy", "gpu_memset"}


def test_activities_are_offered() -> None:
    assert torch.profiler.supported_activities() == {ProfilerActivity.CPU, ProfilerActivity.CUDA}


def test_the_old_profilers() -> None:
    with torch.autograd.profiler.profile(use_device="cuda") as result:
        train_step()
    assert events(result)["aten::addmm"].device_time_total > 0
    with torch.autograd.profiler.emit_nvtx(record_shapes=True):
        train_step()


def test_several_devices(run_python: RunPython) -> None:
    process = run_python(
        """
        import torch
        from torch.profiler import profile
        with profile() as result:
            a, b = torch.ones(9, 9, device="cuda:0"), torch.ones(9, 9, device="cuda:1")
            with torch.cuda.device(1):
                b @ b
            a @ a
            assert torch.cuda.current_device() == 0
        print({event.key: event.count for event in result.key_averages()}["aten::mm"])
        """,
        TORCHDEVICE_COUNT="2",
    )
    assert process.stdout.splitlines()[-1] == "2"


def test_nvtx_and_cuda_profiler() -> None:
    nvtx = torch.cuda.nvtx
    with torch.cuda.profiler.profile(), nvtx.range("step {}", 1):
        assert nvtx.range_push("inner") == 1
        assert nvtx.range_pop() == 1

    @nvtx.range("decorated")
    def decorated() -> int:
        return nvtx.range_push("inner")

    assert decorated() == 1
    assert nvtx.range_pop() == 0
    nvtx.mark("here")
    nvtx.range_end(nvtx.range_start("across threads"))
    nvtx._device_range_end(nvtx._device_range_start("device"))
    torch.cuda.profiler.start()
    torch.cuda.profiler.stop()


def test_short_operators_have_one_row() -> None:
    with profile() as result:
        for _ in range(100):
            torch.add(1, 2)
    assert [row.count for row in result.key_averages() if row.key == "aten::add"] == [100]
