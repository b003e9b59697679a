"""Threads that contend for a device's memory: they keep blocks of their own, and the statistics come out right."""

from __future__ import annotations

import pytest

from tests.conftest import RunPython

#: Operators from several threads at once: TorchScript lets go of Python's lock.
CHAINS = """
    import threading, torch

    chain = torch.jit.CompilationUnit('''
    def chain(x, n: int):
        for _ in range(n):
            x = ((x + 1) * x).sin()
        return x
    ''').chain

    def run_chains(x, n, threads):
        results = [None] * threads
        def work(i):
            results[i] = chain(x + i, n)
        workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return results

    stats = torch.cuda.memory_stats
    x = torch.full((300,), 0.5, device="cuda")
    run_chains(x, 3, 1)  # compiled
"""


def test_every_allocation_is_counted(run_python: RunPython) -> None:
    run_python(
        CHAINS
        + """
    def figures(threads):
        before = stats()
        run_chains(x, 5000, threads)
        after = stats()
        return {
            f"{name}.{kind}": after[f"{name}.{kind}"] - before[f"{name}.{kind}"]
            for name in ("allocation.all", "allocated_bytes.small_pool", "requested_bytes.all", "active.all")
            for kind in ("current", "allocated", "freed")
        }
    one = figures(1)
    assert one["allocation.all.allocated"] > 15000 and one["allocation.all.current"] == 0, one
    for _ in range(5):
        assert figures(4) == {name: 4 * count for name, count in one.items()}
    """
    )


def test_results_are_those_of_one_thread(run_python: RunPython) -> None:
    run_python(
        CHAINS
        + """
    expected = run_chains(x.cpu(), 300, 4)
    for _ in range(20):
        for result, reference in zip(run_chains(x, 300, 4), expected, strict=True):
            assert torch.equal(result.cpu(), reference)
    """
    )


def test_what_threads_keep_is_given_back(run_python: RunPython) -> None:
    """By whatever needs memory or looks at it."""
    run_python(
        CHAINS
        + """
    def contend():
        run_chains(x, 5000, 4)
    contend()
    assert torch.cuda.memory_allocated() == 1536, torch.cuda.memory_allocated()
    contend()
    blocks = [block for segment in torch.cuda.memory_snapshot() for block in segment["blocks"]]
    assert [block["size"] for block in blocks if block["state"] == "active_allocated"] == [1536]
    contend()
    torch.cuda.memory._record_memory_history()
    run_chains(x, 10, 4)
    trace = [entry["action"] for entry in torch.cuda.memory._snapshot()["device_traces"][0]]
    assert trace.count("alloc") == trace.count("free_requested") > 120
    torch.cuda.memory._record_memory_history(enabled=None)
    contend()
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        y = torch.ones(300, device="cuda")
    assert sum(block["state"] == "active_allocated" for s in pool.snapshot() for block in s["blocks"]) == 1
    contend()
    del x, y, pool
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() == 0, torch.cuda.memory_reserved()
    """
    )


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_fork(run_python: RunPython, when: str) -> None:
    """The child finds every lock free, whatever the threads were doing."""
    run_python(
        CHAINS
        + f"""
    import os, threading
    thread = threading.Thread(target=run_chains, args=(x, 200000 if {when!r} == "during" else 5000, 4))
    thread.start()
    if {when!r} == "before":
        thread.join()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            stats()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    thread.join()
    """,
        TORCHDEVICE_FORK="allow",
    )


def test_threads_that_end(run_python: RunPython) -> None:
    """What a thread kept when it ended belongs to everybody again."""
    run_python("""
        import threading, torch
        x = torch.ones(300, device="cuda")
        def work():
            for _ in range(300):
                x + 1
        for _ in range(10):
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            del thread, threads
        assert torch.cuda.memory_allocated() == 1536
        del x
        torch.cuda.empty_cache()
        assert torch.cuda.memory_reserved() == 0
    """)
