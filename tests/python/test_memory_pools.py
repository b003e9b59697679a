"""torch.cuda.MemPool, use_mem_pool and custom allocators: memory set apart from the default pool."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import threading
from pathlib import Path

import pytest
import torch

from tests.conftest import RunPython
from tests.memory import MIB, raw

pytestmark = pytest.mark.usefixtures("empty_cache")


def pool_of(tensor: torch.Tensor) -> tuple[int, int]:
    """The pool whose segment holds the tensor, as the snapshot tells."""
    address = tensor.data_ptr()
    for segment in torch.cuda.memory_snapshot():
        if segment["address"] <= address < segment["address"] + segment["total_size"]:
            return segment["segment_pool_id"]
    raise AssertionError("the tensor lies in no segment")


def test_ids_count_up_per_kind() -> None:
    first, second = torch.cuda.MemPool(), torch.cuda.MemPool()
    assert first.id[0] == second.id[0] == 0
    assert second.id[1] == first.id[1] + 1
    made_for_graph = torch._C._MemPool(None, False, False, False)
    assert made_for_graph.id[0] > 0
    assert made_for_graph.id[1] == 0
    assert isinstance(first, torch._C._MemPool)
    assert first.allocator is None


def test_a_pool_never_shares_blocks_with_the_default_pool() -> None:
    pool = torch.cuda.MemPool()
    for nbytes in (1000, 3 * MIB, 40 * MIB):
        outside = raw(nbytes)
        address = outside.data_ptr()
        del outside
        with torch.cuda.use_mem_pool(pool):
            inside = raw(nbytes)
        assert inside.data_ptr() != address
        assert pool_of(inside) == pool.id
        inside_address = inside.data_ptr()
        del inside
        again = raw(nbytes)
        assert again.data_ptr() == address
        assert pool_of(again) == (0, 0)
        with torch.cuda.use_mem_pool(pool):
            assert raw(nbytes).data_ptr() == inside_address
        del again


def test_results_of_operators_come_from_the_pool_too() -> None:
    pool = torch.cuda.MemPool()
    x = torch.ones(1000, device="cuda")
    with torch.cuda.use_mem_pool(pool):
        y = x + 1
    z = x + 1
    assert pool_of(y) == pool.id
    assert pool_of(z) == (0, 0)
    assert y.sum().item() == z.sum().item() == 2000


def test_a_repeated_allocation_does_not_leave_its_pool() -> None:
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        for _ in range(5):
            inside = raw(1000)
            del inside
        inside = raw(1000)
    address = inside.data_ptr()
    for _ in range(5):
        del inside
        inside = raw(1000)
        assert inside.data_ptr() != address
        assert pool_of(inside) == (0, 0)


def test_use_count_follows_the_users() -> None:
    pool = torch.cuda.MemPool()
    assert pool.use_count() == 1
    with torch.cuda.use_mem_pool(pool):
        assert pool.use_count() == 2
    assert pool.use_count() == 1


def test_the_route_begun_last_comes_first() -> None:
    outer, inner = torch.cuda.MemPool(), torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(outer):
        a = raw(1000)
        with torch.cuda.use_mem_pool(inner):
            b = raw(1000)
        c = raw(1000)
    assert [pool_of(t) for t in (a, b, c)] == [outer.id, inner.id, outer.id]


def test_a_pool_cannot_be_entered_twice() -> None:
    pool = torch.cuda.MemPool()
    with (
        torch.cuda.use_mem_pool(pool),
        pytest.raises(RuntimeError, match="^beginAllocateToPool: already recording to mempool_id"),
    ):
        torch._C._cuda_beginAllocateToPool(0, pool.id)
    torch._C._cuda_releasePool(0, pool.id)
    with pytest.raises(RuntimeError, match="^endAllocatePool: not currently recording to mempool_id"):
        torch._C._cuda_endAllocateToPool(0, pool.id)


def test_only_the_current_thread_is_routed() -> None:
    pool = torch.cuda.MemPool()
    others: list[torch.Tensor] = []
    with torch.cuda.use_mem_pool(pool):
        thread = threading.Thread(target=lambda: others.append(raw(1000)))
        thread.start()
        thread.join()
        mine = raw(1000)
    assert pool_of(mine) == pool.id
    assert pool_of(others[0]) == (0, 0)


def test_every_thread_or_one_stream_can_be_routed() -> None:
    pool = torch.cuda.MemPool()
    others: list[torch.Tensor] = []
    torch._C._cuda_beginAllocateToPool(0, pool.id)
    thread = threading.Thread(target=lambda: others.append(raw(1000)))
    thread.start()
    thread.join()
    torch._C._cuda_endAllocateToPool(0, pool.id)
    torch._C._cuda_releasePool(0, pool.id)
    assert pool_of(others[0]) == pool.id
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch._C._cuda_beginAllocateCurrentStreamToPool(0, pool.id)
        on_side = raw(1000)
    on_default = raw(1000)
    torch._C._cuda_endAllocateToPool(0, pool.id)
    torch._C._cuda_releasePool(0, pool.id)
    assert pool_of(on_side) == pool.id
    assert pool_of(on_default) == (0, 0)


def test_a_pool_that_is_in_use_keeps_its_segments() -> None:
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        x = raw(40 * MIB)
    del x
    torch.cuda.empty_cache()
    assert [s["total_size"] for s in pool.snapshot()] == [40 * MIB]
    pool_id = pool.id
    del pool
    assert torch.cuda.memory_snapshot(pool_id) == []


def test_tensors_outlive_their_pool() -> None:
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        x = torch.full((1000,), 3.0, device="cuda")
        big = raw(40 * MIB)
    pool_id = pool.id
    del pool
    assert x.sum().item() == 3000
    assert pool_of(x) == pool_id
    del big, x
    assert len(torch.cuda.memory_snapshot(pool_id)) == 2
    torch.cuda.empty_cache()
    assert torch.cuda.memory_snapshot(pool_id) == []


def test_statistics_count_private_pools() -> None:
    reserved = torch.cuda.memory_reserved()
    allocated = torch.cuda.memory_allocated()
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        x = raw(30 * MIB)
    assert torch.cuda.memory_reserved() == reserved + 30 * MIB
    assert torch.cuda.memory_allocated() == allocated + 30 * MIB
    key = "reserved_bytes_by_private_pools." + "_".join(map(str, pool.id))
    assert torch.cuda.memory_stats()[f"{key}.large_pool.current"] == 30 * MIB
    nested = torch.cuda.memory_stats_as_nested_dict()["reserved_bytes_by_private_pools"]
    assert nested[pool.id]["all"]["current"] == 30 * MIB
    del x, pool
    stats = torch.cuda.memory_stats()
    assert stats[f"{key}.all.current"] == 0
    assert stats[f"{key}.all.peak"] == stats[f"{key}.all.freed"] == 30 * MIB
    assert torch.cuda.memory_reserved() == reserved


def test_a_pool_that_does_not_split_hands_out_whole_segments() -> None:
    pool = torch.cuda.MemPool(no_split=True)
    with torch.cuda.use_mem_pool(pool):
        x, y = raw(1000), raw(2 * MIB)
    assert sorted((s["total_size"], len(s["blocks"])) for s in pool.snapshot()) == [(2 * MIB, 1), (20 * MIB, 1)]
    address = x.data_ptr()
    del x
    with torch.cuda.use_mem_pool(pool):
        x = raw(100_000)
    assert x.data_ptr() == address
    del y


def test_a_pool_may_help_out_before_memory_runs_out() -> None:
    for use_on_oom in (True, False):
        pool = torch.cuda.MemPool(use_on_oom=use_on_oom)
        with torch.cuda.use_mem_pool(pool):
            x = raw(60 * MIB)
        del x
        limit = torch.cuda.memory_reserved() + MIB
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
        if use_on_oom:
            assert pool_of(raw(50 * MIB)) == pool.id
        else:
            with pytest.raises(torch.OutOfMemoryError, match=r"with 60\.00 MiB allocated in private pools"):
                raw(50 * MIB)
        torch.cuda.set_per_process_memory_fraction(1.0)
        del pool


def test_pools_are_per_device(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        pool = torch.cuda.MemPool()
        with torch.cuda.use_mem_pool(pool, device=0):
            a = torch.empty(1000, device="cuda:0")
            b = torch.empty(1000, device="cuda:1")
        pools = {s["device"]: s["segment_pool_id"] for s in torch.cuda.memory_snapshot()}
        assert pools == {0: pool.id, 1: (0, 0)}, pools
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_a_private_pool_survives_a_fork_and_the_end_of_the_process(run_python: RunPython) -> None:
    process = run_python(
        """
        import builtins, os, torch
        pool = builtins.pool = torch.cuda.MemPool()
        with torch.cuda.use_mem_pool(pool):
            x = builtins.x = torch.ones(1000, device="cuda")
            child = os.fork()
            if child == 0:
                os._exit(0 if (x + x).sum().item() == 2000 else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
        TORCHDEVICE_FORK="allow",
    )
    assert process.stderr == ""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A shared library with an allocator that counts, compiled by the C compiler that is at hand."""
    compiler = shutil.which("cc") or (sysconfig.get_config_var("CC") or "").split(" ")[0]
    if not compiler or shutil.which(compiler) is None:
        pytest.skip("no C compiler")
    folder: Path = tmp_path_factory.mktemp("allocator")
    source = folder / "allocator.c"
    source.write_text("""
        #include <stdlib.h>
        #include <sys/types.h>
        long allocations, releases, last_size, last_device, resets, initial_devices;
        void* last_stream;
        int fail;
        void* take(ssize_t size, int device, void* stream) {
          if (fail) return 0;
          allocations++, last_size = size, last_device = device, last_stream = stream;
          return malloc(size);
        }
        void give(void* memory, size_t size, int device, void* stream) {
          releases++, last_size = size, last_device = device, last_stream = stream;
          free(memory);
        }
        void reset(void) { resets++; }
        void init(int devices) { initial_devices = devices; }
    """)
    built = folder / "allocator.so"
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(built)], check=True)
    return str(built)


def test_a_pool_takes_its_segments_from_a_custom_allocator(run_python: RunPython, library: str) -> None:
    run_python(f"""
        import ctypes, torch
        from tests.memory import MIB
        counters = ctypes.CDLL({library!r})
        value = lambda name: ctypes.c_long.in_dll(counters, name).value
        allocator = torch.cuda.memory.CUDAPluggableAllocator({library!r}, "take", "give")
        pool = torch.cuda.MemPool(allocator.allocator())
        assert pool.allocator is allocator.allocator()
        side = torch.cuda.Stream()
        before = torch.ones(10, device="cuda")
        assert value("allocations") == 0
        with torch.cuda.use_mem_pool(pool):
            x = torch.arange(1000.0, device="cuda")
            y = x * 2
            assert (value("allocations"), value("last_size"), value("last_device")) == (1, 2 * MIB, 0)
            big = torch.empty(5 * MIB, dtype=torch.uint8, device="cuda")
            assert (value("allocations"), value("last_size")) == (2, 20 * MIB)
            with torch.cuda.stream(side):
                z = torch.ones(5, device="cuda")
            assert ctypes.c_void_p.in_dll(counters, "last_stream").value == side.cuda_stream
        assert y.sum().item() == 999000.0 and (x + before[0]).sum().item() == 500500.0
        assert x.clone().untyped_storage().nbytes() == 4000
        assert {{s["segment_pool_id"] for s in pool.snapshot()}} == {{pool.id}}
        y.record_stream(side)
        del x, y, z, big
        assert value("releases") == 0
        del pool
        assert value("releases") == 3
        assert (x := torch.ones(5, device="cuda")).sum().item() == 5
        pool = torch.cuda.MemPool(allocator.allocator())
        ctypes.c_int.in_dll(counters, "fail").value = 1
        try:
            with torch.cuda.use_mem_pool(pool):
                torch.empty(1000, device="cuda")
            raise SystemExit("no error")
        except torch.OutOfMemoryError as error:
            assert str(error).startswith("CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has"), error
        ctypes.c_int.in_dll(counters, "fail").value = 0
        with torch.cuda.use_mem_pool(pool):
            kept = torch.ones(1000, device="cuda")
    """)


def test_python_functions_can_serve_a_pool_from_several_threads(run_python: RunPython) -> None:
    run_python("""
        import ctypes, threading, torch
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        calls = []
        @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
        def take(size, device, stream):
            calls.append(size)
            return libc.malloc(size)
        @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
        def give(memory, size, device, stream):
            calls.append(-size)
            libc.free(memory)
        address = lambda function: ctypes.cast(function, ctypes.c_void_p).value
        allocator = torch._C._cuda_customAllocator(address(take), address(give))
        pool = torch.cuda.MemPool(allocator)
        torch._C._cuda_beginAllocateToPool(0, pool.id)
        def work():
            for i in range(30):
                with torch.cuda.stream(torch.cuda.Stream()):
                    torch.ones(1000 * i + 1, device="cuda").sum()
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        torch._C._cuda_endAllocateToPool(0, pool.id)
        torch._C._cuda_releasePool(0, pool.id)
        del pool
        torch.cuda.empty_cache()
        assert calls and sum(calls) == 0, calls
    """)


def test_the_current_allocator_can_be_changed_before_cuda_is_used(run_python: RunPython, library: str) -> None:
    run_python(f"""
        import ctypes, torch
        counters = ctypes.CDLL({library!r})
        value = lambda name: ctypes.c_long.in_dll(counters, name).value
        allocator = torch.cuda.memory.CUDAPluggableAllocator({library!r}, "take", "give")
        allocator.allocator().set_reset_fn(ctypes.cast(counters.reset, ctypes.c_void_p).value)
        allocator.allocator().set_init_fn(ctypes.cast(counters.init, ctypes.c_void_p).value)
        torch.cuda.memory.change_current_allocator(allocator)
        assert torch.cuda.get_allocator_backend() == "pluggable"
        assert torch.cuda.memory._get_current_allocator().allocator() is allocator.allocator()
        x = torch.ones(1000, device="cuda")
        assert value("initial_devices") == 1
        assert (value("allocations"), value("last_size")) == (1, 4000)
        y = x + x
        assert y.sum().item() == 2000.0
        taken = value("allocations")
        assert taken >= 2
        del x, y
        assert value("releases") == taken
        torch.cuda.empty_cache()
        assert value("resets") == 1
        for call, function in ((torch.cuda.memory_stats, "getDeviceStats"), (torch.cuda.memory_snapshot, "snapshot"),
                               (torch.cuda.reset_peak_memory_stats, "resetPeakStats")):
            try:
                call()
                raise SystemExit("no error")
            except RuntimeError as error:
                assert str(error).startswith(
                    f"CUDAPluggableAllocator does not yet support {{function}}. "
                    "If you need it, please file an issue describing your use case."), error
    """)


def test_the_current_allocator_cannot_be_changed_later(library: str) -> None:
    torch.ones(1, device="cuda")
    allocator = torch.cuda.memory.CUDAPluggableAllocator(library, "take", "give")
    with pytest.raises(RuntimeError, match="^Can't swap an already initialized allocator"):
        torch.cuda.memory.change_current_allocator(allocator)
    assert torch._C._cuda_getAllocator() is None
