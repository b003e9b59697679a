"""Captures that cannot get their pool, and pools that are ended under a capture: an error, and nothing left begun.

Each runs in a process of its own: what is tested is that it does not end.
"""

from __future__ import annotations

import pytest

from tests.conftest import RunPython

#: Defines `raises(call, text)`, and `check()`: nothing is captured or routed, and a capture works.
BEGIN = """
    import gc, threading, torch

    def raises(call, text):
        try:
            call()
        except RuntimeError as error:
            assert type(error) is RuntimeError and str(error).splitlines()[0] == text, repr(error)
        else:
            raise AssertionError("no error")

    def capture(pool=None, graph=None):
        graph = graph or torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            graph.y = torch.ones(2, device="cuda") + 1
        return graph

    def check():
        torch.cuda.set_stream(torch.cuda.default_stream())
        assert not torch.cuda.is_current_stream_capturing()
        outside = torch.ones(1000, device="cuda")
        own = [s["segment_pool_id"] for s in torch.cuda.memory_snapshot() if s["address"] <= outside.data_ptr()][-1]
        assert own == (0, 0), own
        graph = capture()
        graph.replay()
        assert graph.y.tolist() == [2, 2]
        del graph
        gc.collect()
        torch.cuda.empty_cache()

    TAKEN = "beginAllocateToPool: already recording to mempool_id"
    torch.cuda.init()
"""


def test_a_pool_that_the_thread_fills(run_python: RunPython) -> None:
    run_python(
        BEGIN
        + """
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        graph = torch.cuda.CUDAGraph()
        raises(lambda: capture(pool.id, graph), TAKEN)
        assert pool.use_count() == 2
        del graph
        gc.collect()
        assert pool.use_count() == 2
    assert pool.use_count() == 1
    check()
    capture(pool.id).replay()
    """
    )


def test_a_pool_that_another_capture_fills(run_python: RunPython) -> None:
    run_python(
        BEGIN
        + """
    pool = torch.cuda.graph_pool_handle()
    first = torch.cuda.CUDAGraph()
    with torch.cuda.graph(first, pool=pool, stream=torch.cuda.Stream(), capture_error_mode="relaxed"):
        x = torch.ones(2, device="cuda")

        def work():
            torch.cuda.set_stream(torch.cuda.Stream())
            graph = torch.cuda.CUDAGraph()
            raises(lambda: graph.capture_begin(pool, capture_error_mode="relaxed"), TAKEN)
            assert not torch.cuda.is_current_stream_capturing()
            raises(graph.capture_end, "capture_end() called before capture_begin().")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        x += 1
    first.replay()
    assert x.tolist() == [2, 2]
    check()
    """
    )


def test_two_threads_with_one_pool(run_python: RunPython) -> None:
    run_python(
        BEGIN
        + """
    import collections
    pool = torch.cuda.graph_pool_handle()
    keeper = capture(pool)
    outcomes = collections.Counter()

    def work():
        stream = torch.cuda.Stream()
        for _ in range(200):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(stream):
                try:
                    graph.capture_begin(pool, capture_error_mode="relaxed")
                    x = torch.ones(2, device="cuda")
                    x += 1
                    graph.capture_end()
                    outcomes["captured"] += 1
                except RuntimeError as error:
                    outcomes[str(error).splitlines()[0]] += 1

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert outcomes.keys() <= {"captured", TAKEN}, outcomes
    assert outcomes["captured"] > 0
    check()
    """
    )


def test_a_user_pool_that_is_entered_twice(run_python: RunPython) -> None:
    run_python(
        BEGIN
        + """
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        raises(torch.cuda.use_mem_pool(pool).__enter__, TAKEN)
        assert pool.use_count() == 2
    assert pool.use_count() == 1
    identity = pool.id
    del pool
    assert torch.cuda.memory_snapshot(identity) == []
    check()
    """
    )


@pytest.mark.parametrize("how", ["capture_end", "reset", "__del__"])
def test_a_route_that_the_program_ends(run_python: RunPython, how: str) -> None:
    run_python(
        BEGIN
        + f"""
    pool = torch.cuda.graph_pool_handle()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream()):
        graph.capture_begin(pool)
        x = torch.ones(2, device="cuda")
        torch._C._cuda_endAllocateToPool(0, pool)
        if {how!r} == "__del__":
            del graph
        else:
            raises(getattr(graph, {how!r}), "endAllocatePool: not currently recording to mempool_id")
        assert not torch.cuda.is_current_stream_capturing()
    check()
    """
    )


def test_users_that_the_program_takes_from_a_pool(run_python: RunPython) -> None:
    run_python(
        BEGIN
        + """
    graph = capture()
    identity = graph.pool()
    torch._C._cuda_releasePool(0, identity)
    text = f"The memory pool {identity} has no user that could release it"
    raises(lambda: torch._C._cuda_releasePool(0, identity), text)
    lost = (f"The memory pool {identity} has lost its last user, the graph or MemPool that it belonged to, and "
            "serves no allocations any more")
    raises(lambda: capture(identity), lost)
    check()
    del graph
    gc.collect()
    torch.cuda.empty_cache()
    raises(lambda: torch._C._cuda_releasePool(0, identity), text)

    pool = torch.cuda.MemPool(use_on_oom=True)
    identity = pool.id
    torch._C._cuda_releasePool(0, identity)
    torch.cuda.empty_cache()
    assert pool.use_count() == 0
    del pool
    check()
    """
    )


def test_a_pool_id_that_nobody_gives(run_python: RunPython) -> None:
    run_python(
        BEGIN
        + """
    raises(lambda: capture((3, 4)), "Expected the id of a memory pool, of whose two numbers one is 0: what "
           "torch.cuda.graph_pool_handle(), CUDAGraph.pool() or MemPool.id give, but got (3, 4)")
    check()
    """
    )
