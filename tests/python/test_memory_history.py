"""torch.cuda.memory._record_memory_history, _snapshot and what reads them.

Entries and their order follow c10/cuda/CUDACachingAllocator.cpp; they were not compared with a GPU's.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.cuda import _memory_viz

from tests.conftest import RunPython
from tests.memory import MIB, raw

HERE = Path(__file__).name

record = torch.cuda.memory._record_memory_history
#: Since torch 2.14, which also names an entry's pool.
KEEPS_PINNED_MEMORY = hasattr(torch.cuda.memory, "_annotate_tensor")


@pytest.fixture(autouse=True)
def _no_history(empty_cache: None) -> Iterator[None]:
    yield
    record(None)
    torch.cuda.memory._set_memory_metadata("")


def trace() -> list[dict[str, Any]]:
    return torch.cuda.memory._snapshot()["device_traces"][0]


def actions() -> list[tuple[str, int]]:
    return [(entry["action"], entry["size"]) for entry in trace()]


def test_every_kind_of_entry() -> None:
    record()
    assert torch._C._cuda_isHistoryEnabled()
    x = raw(30 * MIB - 3)
    address = x.data_ptr()
    del x
    torch.cuda.empty_cache()
    with pytest.raises(torch.OutOfMemoryError):
        raw(1 << 46)
    torch.cuda.memory._snapshot()
    entries = trace()
    assert [(e["action"], e["size"]) for e in entries] == [
        ("segment_alloc", 30 * MIB),
        ("alloc", 30 * MIB - 3),
        ("free_requested", 30 * MIB - 3),
        ("free_completed", 30 * MIB - 3),
        ("segment_free", 30 * MIB),
        ("oom", 1 << 46),
        ("snapshot", torch.cuda.memory_stats()["active_bytes.all.current"]),
    ]
    assert [e["addr"] for e in entries[:5]] == [address] * 5
    assert 0 < entries[5]["device_free"] <= torch.cuda.mem_get_info()[1]
    keys = {"action", "addr", "size", "stream", "time_us", "compile_context", "user_metadata", "frames"}
    assert set(entries[0]) == keys | ({"pool_id"} if KEEPS_PINNED_MEMORY else set())
    assert [e["time_us"] for e in entries] == sorted(e["time_us"] for e in entries)
    for entry in entries[:6]:
        functions = [f["name"] for f in entry["frames"] if f["filename"].endswith(HERE)]
        assert functions[-1] == "test_every_kind_of_entry"
    assert "frames" not in entries[6]
    record(None)
    assert not torch._C._cuda_isHistoryEnabled()
    assert trace() == []


def test_a_release_on_another_stream_completes_later() -> None:
    side = torch.cuda.Stream()
    x = raw(30 * MIB)
    record()
    x.record_stream(side)
    del x
    assert actions() == [("free_requested", 30 * MIB)]
    y = raw(1000)
    assert [a for a, _ in actions() if a not in ("segment_alloc", "snapshot")] == [
        "free_requested",
        "free_completed",
        "alloc",
    ]
    del y


def test_repeated_allocations_are_all_recorded() -> None:
    raw(1000)
    record()
    for _ in range(5):
        raw(1000)
    assert actions() == [("alloc", 1000), ("free_requested", 1000), ("free_completed", 1000)] * 5


def test_blocks_and_segments_carry_the_frames_of_their_allocation() -> None:
    before = raw(40 * MIB)
    record("state", context="all", stacks="python")
    x = raw(50 * MIB)
    segments = {s["address"]: s for s in torch.cuda.memory_snapshot()}
    block = segments[x.data_ptr()]["blocks"][0]
    for frames in (block["frames"], segments[x.data_ptr()]["frames"]):
        mine = [f for f in frames if f["filename"].endswith((HERE, "tests/memory.py"))]
        assert [f["name"] for f in mine] == ["raw", "test_blocks_and_segments_carry_the_frames_of_their_allocation"]
        assert all(set(f) >= {"filename", "line", "name"} for f in frames)
    assert segments[before.data_ptr()]["blocks"][0]["frames"] == []
    assert torch.cuda.memory._allocation_traceback(x.data_ptr()) == block["frames"]
    assert torch.cuda.memory._allocation_traceback(x.data_ptr() + 512) is None
    assert torch.cuda.memory._allocation_traceback(before.data_ptr()) is None
    assert torch.cuda.memory._allocation_traceback(0) is None
    record(None)
    assert torch.cuda.memory._allocation_traceback(x.data_ptr()) == block["frames"]
    address = x.data_ptr()
    del x
    y = raw(50 * MIB)
    assert y.data_ptr() == address
    assert torch.cuda.memory._allocation_traceback(address) is None


@pytest.mark.parametrize(
    ("context", "alloc", "free", "block"),
    [
        (None, False, False, False),
        ("state", False, False, True),
        ("alloc", True, True, True),
        ("all", True, True, True),
    ],
)
def test_context_says_what_gets_frames(context: str | None, alloc: bool, free: bool, block: bool) -> None:
    """A free without frames of its own shows those of the allocation, as CUDA's allocator does."""
    record(context=context, stacks="python")
    x = raw(1000)
    shown = torch.cuda.memory._allocation_traceback(x.data_ptr()) is not None
    del x
    entries = {e["action"]: "frames" in e for e in trace()}
    assert (entries["alloc"], entries["free_requested"], shown) == (alloc, free, block)


def test_the_trace_is_a_ring() -> None:
    record(max_entries=4)
    for nbytes in range(1000, 1004):
        raw(nbytes)
    assert actions() == [
        ("free_completed", 1002),
        ("alloc", 1003),
        ("free_requested", 1003),
        ("free_completed", 1003),
    ]


def test_recording_again_keeps_the_trace_unless_told() -> None:
    raw(1000)
    record(max_entries=100)
    raw(1000)
    record(max_entries=100)
    assert len(trace()) == 3
    record(max_entries=100, clear_history=True)
    assert trace() == []


def test_actions_can_be_skipped() -> None:
    raw(1000)
    record(skip_actions=["free_requested", "free_completed", "unknown"])
    raw(1000)
    assert actions() == [("alloc", 1000)]


def test_state_keeps_one_entry() -> None:
    record("state")
    raw(1000), raw(1000)
    assert len(trace()) == 1


def test_metadata_belongs_to_the_thread() -> None:
    torch.cuda.memory._set_memory_metadata("step 1")
    assert torch.cuda.memory._get_memory_metadata() == "step 1"
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(torch.cuda.memory._get_memory_metadata()))
    thread.start()
    thread.join()
    assert seen == [""]
    record()
    raw(1000)
    assert {e["user_metadata"] for e in trace()} == {"step 1"}


def test_regions_of_the_program_are_annotations() -> None:
    record()
    with torch.profiler.record_function("outer"):
        raw(1000)
    snapshot = torch.cuda.memory._snapshot()
    annotations, entries = snapshot["external_annotations"], snapshot["device_traces"][0]
    assert [(a["stage"], a["name"], a["device"]) for a in annotations] == [("START", "outer", 0), ("END", "outer", 0)]
    assert annotations[0]["time_us"] <= entries[-1]["time_us"] <= annotations[1]["time_us"]
    record(None)
    with torch.profiler.record_function("unseen"):
        raw(1000)
    assert torch.cuda.memory._snapshot()["external_annotations"] == []


def test_compiled_regions_are_named() -> None:
    compiled = torch.compile(lambda x: x * 2, backend="eager")
    x = torch.ones(1000, device="cuda")
    compiled(x)
    record(compile_context=True)
    compiled(x)
    torch.ones(300, device="cuda")
    contexts = {e["size"]: e["compile_context"] for e in trace() if e["action"] == "alloc"}
    assert contexts[4000].startswith("Torch-Compiled Region: ")
    assert contexts[1200] == "N/A"


def test_the_old_way_to_call_it() -> None:
    raw(1000)
    record(True, trace_alloc_max_entries=100, trace_alloc_record_context=True)
    x = raw(1000)
    assert actions() == [("alloc", 1000)]
    assert torch.cuda.memory._allocation_traceback(x.data_ptr())
    record(False)
    assert trace() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"enabled": "some"}, "expected state to be 'state', 'all', or None"),
        ({"context": "some"}, "expected context to be 'state', 'alloc', 'all', or None"),
        ({"stacks": "some"}, "expected stacks to be 'python', or 'all'"),
    ],
)
def test_bad_arguments(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"^{message}"):
        record(**arguments)


def test_pools_show_in_their_own_snapshot() -> None:
    record()
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        x = raw(1000)
    assert [s["segment_pool_id"] for s in pool.snapshot()] == [pool.id]
    assert ("alloc", 1000) in actions()
    del x


def test_snapshots_without_traces_are_light() -> None:
    record()
    raw(1000)
    assert torch._C._cuda_memorySnapshot((0, 0, False))["device_traces"] == [[]]
    assert torch._C._cuda_memorySnapshot((0, 0, True))["device_traces"] != [[]]


def test_torchs_viewers_open_the_dump(tmp_path: Path) -> None:
    record()
    x = raw(30 * MIB)
    y = torch.ones(100, device="cuda") + 1
    del x
    file = tmp_path / "dump.pickle"
    torch.cuda.memory._dump_snapshot(str(file))
    with file.open("rb") as stream:
        snapshot = pickle.load(stream)
    since_2_14 = {"host_segments", "host_traces"}
    assert set(snapshot) - since_2_14 == {"segments", "device_traces", "allocator_settings", "external_annotations"}
    assert "alloc" in _memory_viz.trace(snapshot)
    assert "segments: " in _memory_viz.segsum(snapshot)
    assert len(_memory_viz.trace_plot(snapshot)) > 1000
    assert len(_memory_viz.segment_plot(snapshot)) > 1000
    stacks = _memory_viz.memory(snapshot, format_flamegraph=lambda text: text)
    assert HERE in stacks
    assert "stream_" in _memory_viz.segments(snapshot, format_flamegraph=lambda text: text)
    del y


def test_torchs_profiler_plot_opens() -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True, with_stack=True
    ) as profiler:
        x = torch.ones(1000, device="cuda") + 1
    assert len(_memory_viz.profile_plot(profiler)) > 1000
    del x


def test_observers_are_called_before_memory_runs_out(run_python: RunPython) -> None:
    run_python("""
        import torch
        seen = []
        def observer(device, wanted, total, free):
            seen.append((device, wanted, total, free, torch.cuda.memory._snapshot()["segments"]))
        torch._C._cuda_attach_out_of_memory_observer(observer)
        try:
            torch.empty(1 << 46, dtype=torch.uint8, device="cuda")
            raise SystemExit("no error")
        except torch.OutOfMemoryError:
            pass
        (device, wanted, total, free, segments), = seen
        assert (device, wanted, segments) == (0, 1 << 46, [])
        assert 0 < free <= total == torch.cuda.get_device_properties(0).total_memory
        def raising(*_):
            raise KeyError("observer")
        torch._C._cuda_attach_out_of_memory_observer(raising)
        try:
            torch.empty(1 << 46, dtype=torch.uint8, device="cuda")
            raise SystemExit("no error")
        except KeyError:
            pass
        assert torch.ones(3, device="cuda").sum().item() == 3
    """)


def test_history_of_several_devices_and_threads(run_python: RunPython) -> None:
    process = run_python(
        """
        import threading, torch
        torch.cuda.memory._record_memory_history(max_entries=500)
        def work(device):
            for i in range(200):
                torch.ones(i + 1, device=f"cuda:{device}") * 2
        threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        traces = torch.cuda.memory._snapshot()["device_traces"]
        assert [len(trace) for trace in traces] == [500, 500]
        assert {e["action"] for e in traces[1]} == {"alloc", "free_requested", "free_completed"}
        kept = torch.ones(1000, device="cuda")  # and the process ends while recording
        """,
        TORCHDEVICE_COUNT="2",
    )
    assert process.stderr == ""
