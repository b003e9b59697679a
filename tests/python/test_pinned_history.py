"""What torch 2.14 adds to the history of memory: pinned memory, and annotations of live blocks.

Entries and segments have the form that 2.14.1's CUDA build gives those of an allocator of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.memory import raw

HERE = Path(__file__).name
SINCE_2_14 = pytest.mark.skipif(not hasattr(torch.cuda.memory, "_annotate_tensor"), reason="came with torch 2.14")

names: Any = torch._C


@pytest.fixture(autouse=True)
def _no_history(empty_cache: None) -> Iterator[None]:
    torch._C._host_emptyCache()
    yield
    torch.cuda.memory._record_memory_history(None)


def record(pinned: bool, cuda: bool) -> None:
    names._cuda_record_memory_history("all", "all", "python", 100, False, False, False, [], pinned, cuda)


def test_both_forms_of_the_call_are_taken() -> None:
    names._cuda_record_memory_history("all", "all", "python", 100, False, False, False, [])
    assert names._cuda_isHistoryEnabled()
    names._cuda_record_memory_history_legacy(False, False, 1, False, False, False, False, False, [])
    assert not names._cuda_isHistoryEnabled()
    record(pinned=True, cuda=False)
    assert not names._cuda_isHistoryEnabled()


@SINCE_2_14
def test_pinned_memory_has_a_history() -> None:
    torch._C._host_emptyCache()
    record(pinned=True, cuda=False)
    x = torch.empty(1000, dtype=torch.uint8, pin_memory=True)
    address = x.data_ptr()
    snapshot: dict[str, Any] = torch.cuda.memory._snapshot()
    (segment,) = (one for one in snapshot["host_segments"] if one["address"] == address)
    assert segment["blocks"][0].pop("frames") == segment.pop("frames") != []
    assert segment == {
        "device": -1, "address": address, "total_size": 1024, "allocated_size": 1024, "active_size": 1024,
        "requested_size": 1024, "stream": 0, "segment_type": "small", "segment_pool_id": (0, 0), "is_expandable": False,
        "blocks": [{"address": address, "size": 1024, "requested_size": 1024, "state": "active_allocated"}],
    }  # fmt: skip
    del x
    torch._C._host_emptyCache()
    torch.empty(10, device="cuda")
    snapshot = torch.cuda.memory._snapshot()
    entries = [entry for entry in snapshot["host_traces"] if entry["addr"] == address]
    assert [entry["action"] for entry in entries] == [
        "segment_alloc", "alloc", "free_requested", "free_completed", "segment_free",
    ]  # fmt: skip
    assert {(e["size"], e["stream"], e["compile_context"], e["user_metadata"], e["pool_id"]) for e in entries} == {
        (1024, 0, "", "", (0, 0))
    }
    assert any(frame["filename"].endswith(HERE) for frame in entries[1]["frames"])
    assert snapshot["device_traces"][0] == []
    assert address not in [one["address"] for one in snapshot["host_segments"]]


@SINCE_2_14
def test_the_device_alone_is_recorded_unless_asked() -> None:
    torch.cuda.memory._record_memory_history()
    x = torch.empty(1000, pin_memory=True)
    snapshot: dict[str, Any] = torch.cuda.memory._snapshot()
    assert snapshot["host_traces"] == []
    assert x.data_ptr() in [one["address"] for one in snapshot["host_segments"]]
    without: dict[str, Any] = names._cuda_memorySnapshot((0, 0, False))
    assert without["host_traces"] == []


@SINCE_2_14
def test_a_tensor_can_be_annotated_after_the_fact() -> None:
    x = raw(1000)
    record(pinned=False, cuda=True)
    torch.cuda.memory._set_memory_metadata("of the thread")
    torch.cuda.memory._annotate_tensor(x[10:], "saved for backward")
    torch.cuda.memory._set_memory_metadata("")
    (entry,) = torch.cuda.memory._snapshot()["device_traces"][0]
    assert (entry["action"], entry["addr"], entry["size"]) == ("annotate", x.data_ptr(), 1000)
    assert entry["user_metadata"] == "saved for backward"
    assert any(frame["filename"].endswith(HERE) for frame in entry["frames"])


def test_only_live_blocks_can_be_annotated() -> None:
    assert names._cuda_memoryMetadataSupported()
    x = raw(1000)
    names._cuda_annotateMemory(x.data_ptr(), "nobody records it")
    for address in (5, x.data_ptr() + 1):
        with pytest.raises(RuntimeError) as error:
            names._cuda_annotateMemory(address, "")
        assert str(error.value).splitlines()[0] == f"annotateMemory: no live allocation found at pointer {address:#x}"
