"""torch.cuda.host_memory_stats(): the pinned allocator's figures, as c10's CachingHostAllocatorImpl counts them."""

from __future__ import annotations

import torch

from tests.conftest import RunPython

STATS = ("allocations", "active_requests", "allocated_bytes", "active_bytes")


def test_every_key_of_a_cuda_build() -> None:
    torch.cuda.init()
    expected = {f"{stat}.{value}" for stat in STATS for value in ("current", "peak", "allocated", "freed")}
    expected |= {
        f"host_{kind}_time.{value}" for kind in ("alloc", "free") for value in ("total", "max", "min", "count", "avg")
    }
    expected |= {"num_host_alloc", "num_host_free"}
    assert set(torch.cuda.host_memory_stats()) == expected
    assert torch.cuda.memory._host_allocator() > 0


def test_figures_of_a_known_sequence(run_python: RunPython) -> None:
    run_python("""
        import torch
        torch.cuda.init()
        def figures():
            stats = torch.cuda.host_memory_stats()
            names = ("allocations", "allocated_bytes", "active_requests", "active_bytes")
            return [stats[f"{name}.current"] for name in names]
        x = torch.empty(3000, dtype=torch.uint8, pin_memory=True)
        assert figures() == [1, 4096, 1, 4096]
        y = torch.empty(5000, dtype=torch.uint8, pin_memory=True)
        assert figures() == [2, 12288, 2, 12288]
        address = x.data_ptr()
        del x
        assert figures() == [2, 12288, 1, 8192]
        x = torch.empty(4000, dtype=torch.uint8, pin_memory=True)
        assert x.data_ptr() == address and x.is_pinned()
        assert figures() == [2, 12288, 2, 12288]
        stats = torch.cuda.host_memory_stats()
        assert stats["num_host_alloc"] == stats["host_alloc_time.count"] == 2 and stats["num_host_free"] == 0
        assert stats["active_requests.allocated"] == 3 and stats["active_requests.freed"] == 1
        del x
        torch._C._host_emptyCache()
        assert figures() == [1, 8192, 1, 8192]
        stats = torch.cuda.host_memory_stats()
        assert stats["num_host_free"] == stats["host_free_time.count"] == 1
        assert stats["allocations.peak"] == 2 and stats["active_bytes.peak"] == 12288
        torch.cuda.reset_peak_host_memory_stats()
        torch.cuda.reset_accumulated_host_memory_stats()
        stats = torch.cuda.host_memory_stats()
        assert stats["allocations.peak"] == 1 and stats["active_bytes.peak"] == 8192
        assert stats["num_host_alloc"] == stats["num_host_free"] == stats["host_alloc_time.total"] == 0
        assert stats["active_requests.allocated"] == stats["active_requests.freed"] == 0
        assert figures() == [1, 8192, 1, 8192]
    """)


def test_statistics_are_empty_before_cuda_is_used(run_python: RunPython) -> None:
    run_python("import torch; assert torch.cuda.host_memory_stats() == {}")
