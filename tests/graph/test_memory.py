"""Memory of CUDA graphs: the pools, what lies at the same addresses in each replay, and what is read when."""

from __future__ import annotations

import gc
from inspect import signature

import pytest
import torch

from tests.graph.conftest import capture


def test_results_stay_at_their_addresses() -> None:
    x = torch.randn(64, 64, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = torch.softmax(x @ x, dim=0)
    address = y.data_ptr()
    for _ in range(3):
        x.normal_()
        graph.replay()
        assert y.data_ptr() == address
        torch.testing.assert_close(y, torch.softmax(x @ x, dim=0), rtol=0, atol=0)


def test_shared_pool_and_memory() -> None:
    """A graph's memory belongs to its pool: nobody else gets it, and it goes back when the graph goes."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    x = torch.ones(1 << 20, device="cuda")
    first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(first):
        y = x + 1
    with torch.cuda.graph(second, pool=first.pool()):
        z = y * 2
    assert first.pool() == second.pool()
    assert first.pool()[0] > 0
    del y
    others = [torch.zeros(1 << 20, device="cuda") for _ in range(3)]
    x.fill_(4)
    first.replay()
    second.replay()
    assert z[0].item() == 10
    assert all(other.count_nonzero() == 0 for other in others)
    del z, others, x
    first.reset()
    second.reset()
    del first, second
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() == before


def test_graph_pool_handle() -> None:
    handle = torch.cuda.graph_pool_handle()
    assert handle[0] == 0
    assert handle != torch.cuda.graph_pool_handle()
    graph = capture(lambda: torch.ones(2, device="cuda"), pool=handle)
    assert graph.pool() == handle


def test_intermediate_memory_is_reused_within_a_capture() -> None:
    x = torch.zeros(1 << 18, device="cuda")
    graph = torch.cuda.CUDAGraph()
    gc.collect()
    before = torch.cuda.memory_allocated()
    with torch.cuda.graph(graph):
        y = x
        for _ in range(10):
            y = y + 1
    cells = 2 * 512  # of the default generator's seed and offset
    assert torch.cuda.memory_allocated() - before == (1 << 20) + cells, "one result, not ten"
    graph.replay()
    assert y[0].item() == 10


def test_inputs_stay_alive() -> None:
    x = torch.full((1 << 16,), 2.0, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * 3
    del x
    gc.collect()
    torch.cuda.empty_cache()
    torch.full((1 << 16,), 9.0, device="cuda")
    graph.replay()
    assert y[0].item() == 6


def test_pinned_memory_is_read_at_replay() -> None:
    host = torch.zeros(4).pin_memory()
    back = torch.zeros(4).pin_memory()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x = host.to("cuda", non_blocking=True)
        back.copy_(x + 1, non_blocking=True)
    assert back.tolist() == [0] * 4
    host.fill_(5)
    graph.replay()
    torch.cuda.synchronize()
    assert back.tolist() == [6] * 4


def test_host_scalars_are_taken_at_capture() -> None:
    x = torch.ones(2, device="cuda")
    scalar = torch.tensor(2.0)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * scalar
    scalar.fill_(100)
    graph.replay()
    assert y.tolist() == [2, 2]


@pytest.mark.skipif("check_input_liveness" not in signature(torch.cuda.graph).parameters, reason="came with torch 2.13")
def test_input_liveness_check() -> None:
    x = torch.ones(2, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, check_input_liveness=True):
        y = x + 1
    graph.replay()
    assert y.tolist() == [2, 2]
