"""What the tests of CUDA graphs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def _default_stream() -> Iterator[None]:
    """torch.cuda.graph leaves its stream current when capture_end() raises, also on a GPU."""
    yield
    torch.cuda.set_stream(torch.cuda.default_stream())


#: Since torch 2.14 its Python instantiates a graph before it replays it for the first time.
REPLAYED_TOO_EARLY = (
    r"^capture_end\(\) must have been called before calling instantiate$"
    if "_has_graph_exec" in torch.cuda.CUDAGraph.__annotations__
    else r"^Called CUDAGraph::replay without a preceding successful capture\.$"
)


def capture(work: Callable[[], object], **options: Any) -> torch.cuda.CUDAGraph:
    """A graph of what `work` does; `options` are those of torch.cuda.graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, **options):
        work()
    return graph
