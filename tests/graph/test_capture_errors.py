"""What CUDA forbids while a stream is captured, and what misuse of CUDAGraph raises. Afterwards all is as it was.

The texts of torch are those of aten/src/ATen/cuda/CUDAGraph.cpp, CUDAGeneratorImpl.cpp and native/cuda/Copy.cu; the
CUDA errors are those of the CUDA runtime's documentation of stream capture, not yet compared with a GPU.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch

from tests.graph.conftest import REPLAYED_TOO_EARLY, capture


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda g: g.get_offset(), "Cannot call CUDAGeneratorImpl::get_offset during CUDA graph capture"),
        (lambda g: g.set_offset(8), "Cannot call CUDAGeneratorImpl::set_offset during CUDA graph capture"),
        (lambda g: g.initial_seed(), "Cannot call CUDAGeneratorImpl::current_seed during CUDA graph capture"),
        (lambda g: g.seed(), "Cannot call CUDAGeneratorImpl::seed during CUDA graph capture"),
        (lambda g: g.manual_seed(11), "set_current_seed can be called during stream capture only if new seed is the"),
    ],
)
def test_generators_during_capture(call: Callable[[torch.Generator], object], text: str) -> None:
    generator = torch.Generator("cuda").manual_seed(1)
    with pytest.raises(RuntimeError, match=text):
        capture(lambda: call(generator))
    assert generator.initial_seed() == 1


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda x: x.sum().item(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: torch.equal(x, x),
        lambda x: bool(x.all()),
        lambda _: torch.cuda.synchronize(),
        lambda _: torch.cuda.current_stream().synchronize(),
        lambda _: torch.cuda.current_stream().query(),
        lambda _: torch.cuda.current_stream().record_event().synchronize(),
        lambda x: torch.unique(x),
    ],
)
def test_waiting(forbidden: Callable[[torch.Tensor], object]) -> None:
    x = torch.ones(4, device="cuda")
    with pytest.raises(
        torch.AcceleratorError, match="operation failed due to a previous error during capture"
    ) as error:
        capture(lambda: (x.add_(1), forbidden(x)))
    cause = error.value.__context__
    assert isinstance(cause, torch.AcceleratorError)
    assert "CUDA error: operation not permitted when stream is capturing" in str(cause)
    assert "cudaErrorStreamCaptureUnsupported" in str(cause)
    assert x.tolist() == [1] * 4, "what was captured has not run"
    torch.cuda.synchronize()
    assert not torch.cuda.is_current_stream_capturing()


def test_after_an_error_nothing_more_is_captured() -> None:
    x = torch.ones(4, device="cuda")
    seen = []

    def work() -> None:
        with pytest.raises(torch.AcceleratorError):
            x.sum().item()
        with pytest.raises(torch.AcceleratorError) as error:
            x.add_(1)
        seen.append(str(error.value))

    with pytest.raises(torch.AcceleratorError):
        capture(work)
    assert "operation failed due to a previous error during capture" in seen[0]


@pytest.mark.parametrize("copy", [lambda x: x.cpu(), lambda _: torch.tensor([1.0, 2.0], device="cuda")])
def test_copies_of_memory_that_is_not_pinned(copy: Callable[[torch.Tensor], object]) -> None:
    x = torch.ones(4, device="cuda")
    with pytest.raises(RuntimeError, match="Cannot copy between CPU and CUDA tensors during CUDA graph capture unless"):
        capture(lambda: (x.add_(1), copy(x)))
    assert x.tolist() == [1] * 4


def test_unjoined_work() -> None:
    side = torch.cuda.Stream()

    def work() -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            torch.ones(2, device="cuda")

    with pytest.raises(torch.AcceleratorError, match="capturing stream has unjoined work"):
        capture(work)


def test_an_operator_that_fails() -> None:
    x = torch.ones(4, device="cuda")
    gc.collect()
    allocated = torch.cuda.memory_allocated()
    with pytest.raises(RuntimeError, match="must match the size"):
        capture(lambda: (x.mul_(5), x + torch.ones(3, device="cuda")))
    assert x.tolist() == [1] * 4
    gc.collect()
    assert torch.cuda.memory_allocated() == allocated


def test_misuse() -> None:
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="CUDA graphs must be captured on a non-default stream"):
        graph.capture_begin()
    with pytest.raises(RuntimeError, match=REPLAYED_TOO_EARLY):
        graph.replay()
    with pytest.raises(RuntimeError, match=r"Called CUDAGraph::pool\(\) without a preceding successful capture\."):
        graph.pool()
    with pytest.raises(RuntimeError, match="Unknown capture error mode. Expected `global`, `thread_local`, or"):
        capture(lambda: None, capture_error_mode="whatever")
    with pytest.raises(RuntimeError, match="The current stream is not currently capturing"):
        torch._C._CUDAGraph.get_currently_capturing_graph()
    with pytest.raises(NotImplementedError, match="has no cudaGraph_t"):
        graph.raw_cuda_graph()


def test_misuse_of_a_captured_graph() -> None:
    graph = capture(lambda: torch.ones(1, device="cuda"))
    with pytest.raises(RuntimeError, match=r"instantiate\(\) is intended to be called by the user only when"):
        graph.instantiate()
    with (
        torch.cuda.stream(torch.cuda.Stream()),
        pytest.raises(RuntimeError, match="This CUDAGraph instance already owns a captured graph"),
    ):
        graph.capture_begin()
    with pytest.raises(RuntimeError, match="Cannot replay a CUDA graph during CUDA graph capture"):
        capture(graph.replay)


def test_the_graph_that_is_being_captured() -> None:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.ones(1, device="cuda")
        assert torch._C._CUDAGraph.get_currently_capturing_graph() is graph
