"""Captures that other threads take part in, begin on the same stream, or end: work is captured or runs, never lost.

On a GPU every thread whose current stream is captured takes part, whether it came to the stream before or after.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import RunPython
from tests.graph.conftest import REPLAYED_TOO_EARLY


class Other:
    """A thread that is on a stream and does there what it is given, one after another."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._pool = ThreadPoolExecutor(1, initializer=torch.cuda.set_stream, initargs=(stream,))

    def start(self, work: Callable[[], object]) -> Future[Any]:
        return self._pool.submit(work)

    def do(self, work: Callable[[], object]) -> Any:
        return self.start(work).result(timeout=60)

    def end(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()


@pytest.fixture
def other(stream: torch.cuda.Stream) -> Iterator[Other]:
    """A thread that came to `stream` before anything is captured there."""
    thread = Other(stream)
    thread.do(lambda: torch.ones(1, device="cuda") + 1)
    yield thread
    thread.end()


@torch.library.custom_op("td_thread_test::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def with_backward(x: torch.Tensor, y: torch.Tensor) -> None:
    w = x.detach().requires_grad_()
    (w * 3).sum().backward()
    assert w.grad is not None
    y.copy_(w.grad)


#: y is 1 before, and what is listed after a replay with x = 3.
FIRST_OPERATORS: list[tuple[Callable[[torch.Tensor, torch.Tensor], object], float]] = [
    (lambda x, y: y.add_(x), 4),
    (lambda x, y: torch.add(x, x, out=y), 6),
    (lambda x, y: y.copy_(x * 2), 6),
    (lambda x, y: y.copy_(x), 3),
    (lambda x, y: y.zero_(), 0),
    (lambda x, y: y.copy_(twice(x)), 6),
    (lambda x, y: torch._foreach_add_([y], [x]), 4),
    (lambda x, y: y.copy_(torch.softmax(x, 0)), 0.25),
    (lambda x, y: y.view(2, 2).mul_(7), 7),
    (lambda x, y: y.copy_(torch.nn.functional.linear(x, torch.eye(4, device="cuda"))), 3),
    (lambda x, y: y.set_(y.untyped_storage()).add_(x), 4),
    (with_backward, 3),
]


@pytest.mark.parametrize(("work", "expected"), FIRST_OPERATORS)
def test_a_thread_that_came_before_the_capture(
    other: Other, stream: torch.cuda.Stream, work: Callable[[torch.Tensor, torch.Tensor], object], expected: float
) -> None:
    x, y = torch.ones(4, device="cuda"), torch.ones(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="relaxed"):
        other.do(lambda: work(x, y))
    assert y.tolist() == [1] * 4, "what was captured has not run"
    other.do(lambda: x.fill_(3))
    stream.synchronize()
    assert x.tolist() == [3] * 4, "after the capture its work runs"
    y.fill_(1)
    graph.replay()
    assert y.tolist() == [expected] * 4


def test_random_numbers_of_a_thread_that_came_before(other: Other, stream: torch.cuda.Stream) -> None:
    y = torch.zeros(1000, device="cuda")
    before = torch.cuda.get_rng_state()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="relaxed"):
        other.do(y.uniform_)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert y.sum().item() == 0
    graph.replay()
    first = y.clone()
    graph.replay()
    assert not torch.equal(first, y)


def test_its_memory_is_the_graphs(other: Other, stream: torch.cuda.Stream) -> None:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="relaxed"):
        y = other.do(lambda: torch.ones(4, device="cuda") * 2)
    pools = {s["address"]: s["segment_pool_id"] for s in torch.cuda.memory_snapshot()}
    segment = max(address for address in pools if address <= y.data_ptr())
    assert pools[segment] == graph.pool()


def test_threads_on_other_streams_are_not_captured(other: Other) -> None:
    y = torch.zeros(4, device="cuda")
    with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="relaxed"):
        torch.ones(1, device="cuda")
        other.do(lambda: y.add_(1))
    torch.cuda.synchronize()
    assert y.tolist() == [1] * 4


@pytest.fixture
def library() -> Iterator[Any]:
    """An operator of another library, add one to `x`, whose kernel waits in the middle until it is told to go on."""
    library = torch.library.Library("td_thread_test", "FRAGMENT")
    library.define("held(Tensor(a!) x) -> ()")
    state = SimpleNamespace(entered=threading.Event(), go_on=threading.Event(), meanwhile=lambda: None)

    def held(x: torch.Tensor) -> None:
        state.entered.set()
        assert state.go_on.wait(30)
        state.meanwhile()
        x.add_(1)

    library.impl("held", held, "CPU")
    yield state
    state.go_on.set()
    library._destroy()


@pytest.mark.parametrize("arrives", [False, True])
def test_the_end_waits_for_operators_on_their_way(
    other: Other, stream: torch.cuda.Stream, library: Any, arrives: bool
) -> None:
    third = Other(stream)
    y, z = torch.zeros(4, device="cuda"), torch.zeros(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="relaxed")
        y.add_(1)
        running = other.start(lambda: torch.ops.td_thread_test.held(y))
        assert library.entered.wait(30)
        coming = [Future[Any]()]
        if arrives:
            late = threading.Timer(0.2, lambda: coming.append(third.start(lambda: z.add_(1))))
            late.start()
        released = threading.Timer(0.5, library.go_on.set)
        released.start()
        graph.capture_end()
    assert library.go_on.is_set()
    running.result(timeout=60)
    assert y.tolist() == [0] * 4
    if arrives:
        late.join()
        coming[-1].result(timeout=60)
        assert z.tolist() == [1] * 4, "it came when the capture was ending, and ran"
    graph.replay()
    assert (y.tolist(), z.tolist()) == ([2] * 4, [float(arrives)] * 4)
    third.end()


def test_a_reset_waits_too(other: Other, stream: torch.cuda.Stream, library: Any) -> None:
    y = torch.zeros(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="relaxed")
        running = other.start(lambda: torch.ops.td_thread_test.held(y))
        assert library.entered.wait(30)
        threading.Timer(0.3, library.go_on.set).start()
        graph.reset()
        assert not torch.cuda.is_current_stream_capturing()
    running.result(timeout=60)
    assert y.tolist() == [0] * 4
    other.do(lambda: y.add_(5))
    stream.synchronize()
    assert y.tolist() == [5] * 4


def test_a_graph_may_die_in_the_middle(other: Other, stream: torch.cuda.Stream, library: Any) -> None:
    """Its end waits for a kernel in Python, so it must not hold Python's lock."""
    y = torch.zeros(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="relaxed")
        running = other.start(lambda: torch.ops.td_thread_test.held(y))
        assert library.entered.wait(30)
        threading.Timer(0.3, library.go_on.set).start()
        del graph
        assert not torch.cuda.is_current_stream_capturing()
    running.result(timeout=60)
    assert y.tolist() == [0] * 4


def test_a_kernel_may_end_its_own_capture(stream: torch.cuda.Stream, library: Any) -> None:
    y = torch.zeros(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    library.go_on.set()
    library.meanwhile = graph.reset
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="relaxed")
        torch.ops.td_thread_test.held(y)
        assert not torch.cuda.is_current_stream_capturing()
    with pytest.raises(RuntimeError, match=REPLAYED_TOO_EARLY):
        graph.replay()


def test_only_the_thread_that_began_may_end(other: Other, stream: torch.cuda.Stream) -> None:
    x = torch.ones(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        y = x + 1
        with pytest.raises(torch.AcceleratorError, match="attempt to terminate a thread-local capture sequence from"):
            other.do(graph.capture_end)
        z = y * 2
    x.fill_(2)
    graph.replay()
    assert z.tolist() == [6] * 4


def test_a_second_capture_on_a_stream(other: Other, stream: torch.cuda.Stream) -> None:
    """As on a GPU the thread stays on the stream, and what it does there goes into the first capture."""
    x, y = torch.ones(4, device="cuda"), torch.zeros(4, device="cuda")
    first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(first, stream=stream, capture_error_mode="relaxed"):
        x.mul_(2)
        with pytest.raises(torch.AcceleratorError, match="the operation cannot be performed in the present state"):
            other.do(lambda: second.capture_begin(capture_error_mode="relaxed"))
        assert other.do(torch.cuda.current_stream) == stream
        assert other.do(torch.cuda.is_current_stream_capturing)
        other.do(lambda: y.add_(x))
    assert (x.tolist(), y.tolist()) == ([1] * 4, [0] * 4)
    first.replay()
    assert (x.tolist(), y.tolist()) == ([2] * 4, [2] * 4)
    with pytest.raises(RuntimeError, match=REPLAYED_TOO_EARLY):
        second.replay()
    with torch.cuda.graph(second, stream=stream):
        x.add_(1)
    second.replay()
    assert x.tolist() == [3] * 4


def test_threads_that_meet_on_streams(run_python: RunPython) -> None:
    """Streams come from a pool of 32: threads meet, and one ends the capture that others are in."""
    process = run_python(
        """
        import collections, threading, time, torch
        outcomes = collections.Counter()
        streams = [torch.cuda.Stream() for _ in range(2)]
        end = time.monotonic() + 6

        def work(i):
            x = torch.ones(64, device="cuda")
            total = torch.zeros(64, device="cuda")
            for round in range(10**6):
                if time.monotonic() > end:
                    break
                mode = ("global", "thread_local", "relaxed")[round % 3]
                try:
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph, stream=streams[round % 2], capture_error_mode=mode):
                        total += (x * 2).softmax(0).sum()
                        y = torch.nn.functional.dropout(x, 0.5) + total
                    torch.cuda.set_stream(torch.cuda.default_stream())
                    graph.replay()
                    outcomes["captured"] += 1
                except RuntimeError as error:
                    outcomes[str(error).splitlines()[0]] += 1
                    try:  # where the error has left it
                        x = x + 1
                        total.mul_(2)
                    except RuntimeError as error:
                        outcomes[str(error).splitlines()[0]] += 1

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        torch.cuda.set_stream(torch.cuda.default_stream())
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = torch.ones(3, device="cuda") + 1
        graph.replay()
        assert y.tolist() == [2] * 3
        assert outcomes["captured"] > 0
        print(*outcomes, sep="\\n")
        """,
        timeout=90,
    )
    errors = set(process.stdout.splitlines()) - {"captured"}
    assert all(error.startswith("CUDA error: ") for error in errors), errors
