"""torch.cuda's memory functions on top of the names that torchdevice puts onto torch._C."""

from __future__ import annotations

import gc

import pytest
import torch

from tests.memory import MIB


def test_memory_stats_have_every_key_of_a_cuda_build() -> None:
    torch.ones(1, device="cuda")
    stats = torch.cuda.memory_stats()
    pools, values = ("all", "small_pool", "large_pool"), ("current", "peak", "allocated", "freed")
    counts = ("allocation", "segment", "active", "inactive_split")
    sizes = ("allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes", "requested_bytes")
    expected = {f"{metric}.{pool}.{value}" for metric in counts + sizes for pool in pools for value in values}
    expected |= {f"{metric}.{value}" for metric in ("oversize_allocations", "oversize_segments") for value in values}
    expected |= {
        "num_alloc_retries",
        "num_ooms",
        "num_oom_rejections",
        "num_sync_all_streams",
        "num_device_alloc",
        "num_device_free",
        "max_split_size",
    }
    assert {key for key in stats if not key.startswith("reserved_bytes_by_private_pools.")} == expected
    assert stats["max_split_size"] == -1


def test_memory_summary_shows_the_figures() -> None:
    x = torch.empty(3 * MIB, dtype=torch.uint8, device="cuda")
    summary = torch.cuda.memory_summary()
    assert "PyTorch CUDA memory summary, device ID 0" in summary
    assert "GPU reserved memory" in summary
    assert "Allocated memory" in torch.cuda.memory_summary(abbreviated=True)
    del x


def test_mem_get_info_counts_reserved_memory() -> None:
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total == torch.cuda.get_device_properties(0).total_memory
    assert free + torch.cuda.memory_reserved() <= total
    assert torch.accelerator.get_memory_info(0)[1] == total


def test_accelerator_functions_give_the_same_figures() -> None:
    x = torch.empty(1000, device="cuda")
    assert torch.accelerator.memory_allocated() == torch.cuda.memory_allocated()
    assert torch.accelerator.memory_reserved() == torch.cuda.memory_reserved()
    assert torch.accelerator.max_memory_allocated() == torch.cuda.max_memory_allocated()
    torch.accelerator.reset_peak_memory_stats()
    assert torch.cuda.max_memory_allocated() == torch.cuda.memory_allocated()
    torch.accelerator.empty_cache()
    del x


def test_accumulated_figures_can_be_reset() -> None:
    torch.ones(1, device="cuda")
    torch.cuda.reset_accumulated_memory_stats()
    stats = torch.cuda.memory_stats()
    assert stats["allocation.all.allocated"] == stats["allocation.all.freed"] == stats["num_device_alloc"] == 0
    torch.ones(1, device="cuda")
    stats = torch.cuda.memory_stats()
    assert stats["allocation.all.allocated"] == stats["allocation.all.freed"] == 1


def test_snapshot_shows_segments_and_blocks() -> None:
    gc.collect()
    x = torch.empty(1000, dtype=torch.uint8, device="cuda")
    segments = torch.cuda.memory_snapshot()
    assert sum(segment["total_size"] for segment in segments) == torch.cuda.memory_reserved()
    assert sum(segment["allocated_size"] for segment in segments) == torch.cuda.memory_allocated()
    assert [segment["address"] for segment in segments] == sorted(segment["address"] for segment in segments)
    blocks = {block["address"]: block for segment in segments for block in segment["blocks"]}
    assert blocks[x.data_ptr()] == {
        "address": x.data_ptr(),
        "size": 1024,
        "requested_size": 1000,
        "state": "active_allocated",
        "frames": [],
    }
    for segment in segments:
        assert sum(block["size"] for block in segment["blocks"]) == segment["total_size"]
        assert segment["segment_type"] in ("small", "large")
        assert segment["segment_pool_id"] == (0, 0)
        assert not segment["is_expandable"]
    assert torch.cuda.memory_snapshot((3, 1)) == []
    whole = torch.cuda.memory._snapshot()
    assert whole["device_traces"] == [[]]
    assert whole["allocator_settings"]["expandable_segments"] is False


def test_a_block_waiting_for_another_stream_shows_as_pending() -> None:
    x = torch.empty(1000, dtype=torch.uint8, device="cuda")
    address = x.data_ptr()
    x.record_stream(torch.cuda.Stream())
    del x
    states = {b["address"]: b["state"] for s in torch.cuda.memory_snapshot() for b in s["blocks"]}
    assert states[address] == "active_pending_free"


def test_raw_allocations() -> None:
    before = torch.cuda.memory_allocated()
    pointer = torch.cuda.caching_allocator_alloc(1000)
    assert torch.cuda.memory_allocated() == before + 1024
    torch.cuda.caching_allocator_delete(pointer)
    assert torch.cuda.memory_allocated() == before
    with pytest.raises(ValueError, match=r"^Invalid memory size: -1\. caching_allocator_alloc requires a non-negative"):
        torch.cuda.caching_allocator_alloc(-1)
    with pytest.raises(RuntimeError, match="^invalid device pointer: "):
        torch.cuda.caching_allocator_delete(pointer)
    with pytest.raises(RuntimeError, match="^invalid device pointer: "):
        torch.cuda.caching_allocator_delete(torch.zeros(1).data_ptr())


def test_the_cache_can_be_switched_off() -> None:
    assert torch._C._cuda_cudaCachingAllocator_is_enabled()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    with torch.cuda.memory.caching_allocator_disabled():
        x = torch.full((1000,), 2.0, device="cuda")
        assert not torch._C._cuda_cudaCachingAllocator_is_enabled()
    assert torch._C._cuda_cudaCachingAllocator_is_enabled()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
    assert x.tolist() == [2.0] * 1000
    del x


def test_backend_is_native() -> None:
    assert torch.cuda.get_allocator_backend() == "native"


@pytest.mark.parametrize(
    "call", ["_cuda_memoryStats", "_cuda_resetPeakMemoryStats", "_cuda_resetAccumulatedMemoryStats"]
)
def test_a_device_that_does_not_exist(call: str) -> None:
    with pytest.raises(RuntimeError, match="^Invalid device argument 5: did you call init\\?"):
        getattr(torch._C, call)(5)


def test_bad_arguments() -> None:
    with pytest.raises(RuntimeError, match="^invalid argument to memory_allocated"):
        torch._C._cuda_memoryStats("0")
    with pytest.raises(RuntimeError, match="^Expected tuple or None"):
        torch._C._cuda_memorySnapshot(3)
    with pytest.raises(RuntimeError, match="^Expected tuple of size 2 or 3"):
        torch._C._cuda_memorySnapshot((1,))
    with pytest.raises(RuntimeError, match="^cudaCachingAllocator_enable expects a bool, but got int"):
        torch._C._cuda_cudaCachingAllocator_enable(1)


def test_the_profiler_sees_allocations_and_releases() -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        x = torch.empty(5000, device="cuda")
        del x
    memory = [event.device_memory_usage for event in profiler.events() if event.device_memory_usage]
    assert 20480 in memory
    assert -20480 in memory


def test_a_storage_can_be_cloned_lazily() -> None:
    x = torch.arange(10.0, device="cuda")
    y = torch._lazy_clone(x)
    assert y.untyped_storage()._cdata != x.untyped_storage()._cdata
    y += 1
    assert x.tolist() == [float(i) for i in range(10)]
    assert y.tolist() == [float(i) for i in range(1, 11)]
