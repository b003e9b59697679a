"""The caching allocator: CUDA's figures for the same allocations, limits, streams, threads, forks and exit."""

from __future__ import annotations

import gc
import re
import threading

import pytest
import torch

from tests.conftest import RunPython
from tests.memory import MIB, raw

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.mark.parametrize(
    ("nbytes", "accounted"),
    [(1, 512), (512, 512), (513, 1024), (MIB - 1, MIB), (MIB, MIB), (MIB + 1, MIB + 512), (30 * MIB, 30 * MIB)],
)
def test_sizes_are_rounded_up_to_512_bytes(nbytes: int, accounted: int) -> None:
    before = torch.cuda.memory_stats()
    tensor = raw(nbytes)
    after = torch.cuda.memory_stats()
    pool = "small_pool" if accounted <= MIB else "large_pool"
    for name in ("all", pool):
        assert after[f"allocated_bytes.{name}.current"] - before[f"allocated_bytes.{name}.current"] == accounted
        assert after[f"requested_bytes.{name}.current"] - before[f"requested_bytes.{name}.current"] == nbytes
        assert after[f"allocation.{name}.current"] - before[f"allocation.{name}.current"] == 1
    assert tensor.data_ptr() % 512 == 0


def test_no_bytes_take_no_memory() -> None:
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    assert raw(0).data_ptr() == 0
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_results_of_operators_are_memory_of_the_device() -> None:
    x = torch.ones(1000, device="cuda")
    before = torch.cuda.memory_allocated()
    y = x + x
    assert torch.cuda.memory_allocated() - before == 4096
    del y
    assert torch.cuda.memory_allocated() == before


def test_peak_survives_a_release_and_a_reset_forgets_it() -> None:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    x = raw(5 * MIB)
    del x
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() == before + 5 * MIB
    torch.cuda.reset_peak_memory_stats()
    assert torch.cuda.max_memory_allocated() == before


def test_segments_have_cudas_sizes(run_python: RunPython) -> None:
    run_python("""
        import torch
        from tests.memory import MIB
        def reserved_for(nbytes):
            tensor = torch.empty(nbytes, dtype=torch.uint8, device="cuda")
            reserved = torch.cuda.memory_reserved()
            del tensor
            torch.cuda.empty_cache()
            assert torch.cuda.memory_reserved() == 0
            return reserved
        assert reserved_for(1) == 2 * MIB
        assert reserved_for(MIB) == 2 * MIB
        assert reserved_for(MIB + 1) == 20 * MIB
        assert reserved_for(10 * MIB - 512) == 20 * MIB
        assert reserved_for(10 * MIB) == 10 * MIB
        assert reserved_for(11 * MIB) == 12 * MIB
        assert reserved_for(21 * MIB + 1) == 22 * MIB
    """)


def test_every_statistic_equals_cudas_after_any_sequence(run_python: RunPython) -> None:
    """Random sequences against a transcription of CUDA's algorithm, addresses included."""
    run_python(
        """
        import contextlib, random
        import torch
        from tests.memory import MIB
        from tests.runtime.cuda_allocator_model import METRICS, Model
        torch.cuda.init()
        side = torch.cuda.Stream()
        streams = {0: torch.cuda.default_stream(), 1: side}
        for seed in range(3):
            rng, model, live, bases = random.Random(seed), Model(), [], {}
            pool = None  # the last sequence's, if any, goes before the figures are reset
            pool = torch.cuda.MemPool() if seed else None
            torch.cuda.empty_cache()
            torch.cuda.reset_accumulated_memory_stats()
            torch.cuda.reset_peak_memory_stats()
            for step in range(4000):
                action = rng.random()
                if action < (0.6 if step % 1000 < 500 else 0.4) and len(live) < 300:
                    limit = rng.choice([600, 5000, 5000, 400_000, 3 * MIB, 40 * MIB])
                    nbytes, stream = rng.randint(1, limit), rng.choice([0, 0, 0, 1])
                    private = 1 if pool and rng.random() < 0.2 else 0
                    with contextlib.ExitStack() as stack:
                        stack.enter_context(torch.cuda.stream(streams[stream]))
                        if private:
                            stack.enter_context(torch.cuda.use_mem_pool(pool))
                        tensor = torch.empty(nbytes, dtype=torch.uint8, device="cuda")
                    block = model.malloc(nbytes, stream, private)
                    base = bases.setdefault(block.segment, tensor.data_ptr() - block.offset)
                    assert tensor.data_ptr() - base == block.offset, (seed, step)
                    live.append((tensor, block))
                elif action < 0.985 and live:
                    tensor, block = live.pop(rng.randrange(len(live)))
                    if rng.random() < 0.03:
                        stream = rng.choice([0, 1])
                        tensor.record_stream(streams[stream])
                        block.used_elsewhere |= stream != block.stream
                    del tensor
                    model.release(block)
                elif action < 0.99:
                    torch.cuda.empty_cache(), model.empty_cache()
                elif action < 0.995:
                    torch.cuda.reset_peak_memory_stats(), model.reset_peak()
                else:
                    torch.cuda.reset_accumulated_memory_stats(), model.reset_accumulated()
                if rng.random() < 0.05:
                    nbytes = rng.randint(1, 3000)
                    for _ in range(rng.randint(1, 4)):
                        tensor, block = torch.empty(nbytes, dtype=torch.uint8, device="cuda"), model.malloc(nbytes, 0)
                        base = bases.setdefault(block.segment, tensor.data_ptr() - block.offset)
                        assert tensor.data_ptr() - base == block.offset, (seed, step)
                        del tensor
                        model.release(block)
                if step % 5 == 0:
                    stats = torch.cuda.memory_stats_as_nested_dict()
                    assert {m: stats[m] for m in METRICS} == model.as_dict(), (seed, step)
            tensor = None
            live.clear()
        """
    )


def test_a_released_block_is_handed_out_again() -> None:
    x = raw(1000)
    address = x.data_ptr()
    del x
    y = raw(1000)
    assert y.data_ptr() == address


def test_a_block_stays_with_its_stream() -> None:
    side = torch.cuda.Stream()
    x = raw(1000)
    address = x.data_ptr()
    del x
    with torch.cuda.stream(side):
        y = raw(1000)
    z = raw(1000)
    assert y.data_ptr() != address
    assert z.data_ptr() == address


def test_record_stream_keeps_a_block_active_until_the_next_allocation() -> None:
    side = torch.cuda.Stream()
    x = raw(3000)
    before = torch.cuda.memory_stats()
    x.record_stream(side)
    del x
    released = torch.cuda.memory_stats()
    assert released["allocated_bytes.all.current"] == before["allocated_bytes.all.current"] - 3072
    assert released["active_bytes.all.current"] == before["active_bytes.all.current"]
    y = raw(3000)
    assert torch.cuda.memory_stats()["active_bytes.all.current"] == before["active_bytes.all.current"]
    del y


def test_out_of_memory_raises_cudas_error_and_harms_nothing() -> None:
    kept = torch.full((100,), 7.0, device="cuda")
    before = torch.cuda.memory_stats()
    with pytest.raises(torch.OutOfMemoryError) as caught:
        raw(1 << 46)
    size = r"[\d.]+ (bytes|KiB|MiB|GiB)"
    pattern = (
        rf"CUDA out of memory\. Tried to allocate 65536\.00 GiB\. GPU 0 has a total capacity of {size} of which {size} "
        rf"is free\. ({size} allowed; )?Of the allocated memory {size} is allocated by PyTorch, and {size} is reserved "
        r"by PyTorch but unallocated\. If reserved but unallocated memory is large try setting "
        r"PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation\.  See documentation for Memory "
        r"Management  \(https://docs\.pytorch\.org/docs/stable/notes/cuda\.html"
        r"#optimizing-memory-usage-with-pytorch-cuda-alloc-conf\)"
    )
    assert re.fullmatch(pattern, str(caught.value))
    assert isinstance(caught.value, RuntimeError)
    after = torch.cuda.memory_stats()
    assert after["num_ooms"] == before["num_ooms"] + 1
    assert after["num_alloc_retries"] == before["num_alloc_retries"] + 1
    assert after["allocated_bytes.all.current"] == before["allocated_bytes.all.current"]
    assert kept.sum().item() == 700.0
    assert raw(1000).numel() == 1000


def test_an_absurd_size_raises_cudas_error() -> None:
    with pytest.raises(torch.OutOfMemoryError, match=r"^CUDA out of memory\. Tried to allocate more than 1EB memory"):
        raw(1 << 60)


def test_memory_fraction_limits_what_is_reserved() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(64 * MIB / total)
    assert torch.cuda.get_per_process_memory_fraction() == pytest.approx(64 * MIB / total, rel=1e-6)
    with pytest.raises(torch.OutOfMemoryError, match=r"is free\. 64\.00 MiB allowed; Of the allocated memory"):
        raw(128 * MIB)
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert raw(128 * MIB).numel() == 128 * MIB


def test_exhaustion_gives_the_cache_back_first() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    reserved = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((reserved + 41 * MIB) / total)
    x = raw(30 * MIB)
    del x
    retries = torch.cuda.memory_stats()["num_alloc_retries"]
    y = raw(40 * MIB)
    assert y.numel() == 40 * MIB
    assert torch.cuda.memory_stats()["num_alloc_retries"] == retries + 1


def test_settings_of_pytorch_cuda_alloc_conf_are_followed(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        x = torch.empty(8300, dtype=torch.uint8, device="cuda")
        assert torch.cuda.memory_allocated() == 10240  # 8 KiB and a quarter of it, not 8704
        y = torch.empty(40 << 20, dtype=torch.uint8, device="cuda")
        stats = torch.cuda.memory_stats()
        assert stats["max_split_size"] == 32 << 20
        assert stats["oversize_segments.current"] == stats["oversize_allocations.current"] == 1
        """,
        PYTORCH_CUDA_ALLOC_CONF="roundup_power2_divisions:4,max_split_size_mb:32",
    )
    run_python(
        """
        import torch
        x = torch.empty(8300, dtype=torch.uint8, device="cuda")
        assert torch.cuda.memory_allocated() == 8704
        assert abs(torch.cuda.get_per_process_memory_fraction() - 0.5) < 1e-6
        """,
        PYTORCH_CUDA_ALLOC_CONF="backend:native,expandable_segments:True,per_process_memory_fraction:0.5",
    )


def test_without_caching_memory_goes_straight_back(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        x = torch.ones(1000, device="cuda")
        assert (x + x).sum().item() == 2000
        assert torch.cuda.memory_reserved() == 0
        """,
        PYTORCH_NO_CUDA_MEMORY_CACHING="1",
    )


def test_devices_account_separately(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        x = torch.empty(1000, device="cuda:1")
        assert torch.cuda.memory_allocated(0) == 0
        assert torch.cuda.memory_allocated(1) == 4096
        with torch.cuda.device(1):
            y = torch.empty(1000, device="cuda")
        assert torch.cuda.memory_allocated(1) == 8192
        try:
            torch.empty(1 << 46, device="cuda:1")
        except torch.OutOfMemoryError as error:
            assert ". GPU 1 has a total capacity of " in str(error)
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_threads_share_a_device() -> None:
    errors: list[str] = []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        tensors: list[torch.Tensor] = []
        for size in torch.randint(1, 4000, (500,), generator=generator).tolist():
            tensors.append(torch.full((size,), float(seed), device="cuda"))
            if len(tensors) > 20 and tensors.pop(0).ne(seed).any().item():
                errors.append(f"thread {seed}: somebody else wrote to its memory")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    before = torch.cuda.memory_allocated()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not errors
    assert torch.cuda.memory_allocated() == before


def test_children_of_a_busy_process_can_allocate(run_python: RunPython) -> None:
    run_python(
        """
        import os, threading, time, torch
        kept = torch.full((1000,), 3.0, device="cuda")
        stop = False
        def churn():
            while not stop:
                torch.empty(700, device="cuda"), torch.empty(3 << 20, device="cuda")
        thread = threading.Thread(target=churn)
        thread.start()
        for _ in range(20):
            time.sleep(0.005)
            child = os.fork()
            if child == 0:
                ok = (kept * 2).sum().item() == 6000.0 and torch.zeros(5 << 20, device="cuda").numel() == 5 << 20
                os._exit(0 if ok else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop = True
        thread.join()
        """,
        TORCHDEVICE_FORK="allow",
    )


def test_tensors_may_outlive_the_interpreter(run_python: RunPython) -> None:
    process = run_python("""
        import builtins, torch
        class Holder:
            def __del__(self):
                self.tensor = None
        builtins.holder = Holder()
        builtins.holder.tensor = torch.ones(1000, device="cuda")
        builtins.cycle = [torch.ones(10, device="cuda")]
        builtins.cycle.append(builtins.cycle)
    """)
    assert process.stderr == ""


def test_cpu_memory_is_not_touched() -> None:
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    x = torch.ones(1000) + 1
    assert x.untyped_storage().device.type == "cpu"
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
