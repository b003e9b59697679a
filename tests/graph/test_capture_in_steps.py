"""CUDAGraph's base as the Python of torch 2.14 uses it: a capture that ends in steps, and pools that a graph keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

Base: Any = torch._C._CUDAGraph
KEEPS_IN_DEBUG_MODE = hasattr(torch.cuda.graphs, "_dump_graph_dot")


def capture(graph: Any) -> torch.Tensor:
    with torch.cuda.stream(torch.cuda.Stream()):
        graph.capture_begin(None)
        y = torch.ones(2, device="cuda") + 1
        graph.capture_end_pre()
    return y


def test_a_capture_ends_in_steps() -> None:
    graph = Base()
    y = capture(graph)
    assert not torch.cuda.is_current_stream_capturing()
    assert not graph._has_graph_exec
    graph.instantiate()
    graph.capture_end_post()
    assert graph._has_graph_exec
    y.zero_()
    graph.replay()
    assert y.tolist() == [2, 2]
    with pytest.raises(
        RuntimeError, match="^instantiate\\(\\) is intended to be called by the user only when keep_graph=true"
    ):
        graph.instantiate()


def test_a_kept_graph_is_instantiated_by_the_program() -> None:
    graph = Base(keep_graph=True)
    y = capture(graph)
    graph.capture_end_post()
    assert not graph._has_graph_exec
    graph.instantiate()
    graph.instantiate()
    graph.replay()
    assert y.tolist() == [2, 2]


def test_pools() -> None:
    graph, pool = Base(), torch.cuda.MemPool()
    with pytest.raises(RuntimeError, match="^Called CUDAGraph::pools\\(\\) without a preceding successful capture."):
        graph.pools()
    with pytest.raises(RuntimeError, match="^CUDAGraph::retain_pool may only be called during capture."):
        graph._retain_pool(pool.id)
    with torch.cuda.stream(torch.cuda.Stream()):
        graph.capture_begin(None)
        with pytest.raises(RuntimeError, match="^CUDAGraph::retain_pool expected a non-default memory pool."):
            graph._retain_pool((0, 0))
        graph._retain_pool(pool.id)
        graph._retain_pool(pool.id)
        torch.ones(2, device="cuda")
        graph.capture_end()
    assert graph.pools() == [graph.pool(), pool.id]
    assert pool.use_count() == 2
    graph.reset()
    assert pool.use_count() == 1


@pytest.mark.parametrize("name", ["begin_capture_to_while_node", "set_conditional_handle_for_current_node"])
def test_there_are_no_conditional_nodes(name: str) -> None:
    with pytest.raises(NotImplementedError, match="^torch.cuda.CUDAGraph: torchdevice has no conditional nodes"):
        getattr(Base(), name)(torch.ones((), device="cuda"))


@pytest.mark.skipif(not KEEPS_IN_DEBUG_MODE, reason="since torch 2.14 debug mode keeps the one graph it is asked of")
def test_debug_mode_keeps_the_graph(tmp_path: Path) -> None:
    file = tmp_path / "graph.dot"
    for graph in (torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()):
        if not file.exists():
            graph.enable_debug_mode()
        with torch.cuda.graph(graph):
            torch.ones(2, device="cuda") + 1
        if not file.exists():
            graph.debug_dump(str(file))
    assert "aten::add" in file.read_text()
    with pytest.raises(
        RuntimeError, match="^No cudaGraph_t is available: either capture_end\\(\\) has not been called"
    ):
        graph.debug_dump(str(file))
