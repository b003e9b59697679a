"""CUDA graphs: capture runs nothing, replay runs everything on the same memory with what the inputs hold then.

Behaviour and texts are those of aten/src/ATen/cuda/CUDAGraph.cpp and of torch's test/test_cuda.py; the CUDA errors are
those of the CUDA runtime's documentation of stream capture, not yet compared with a GPU.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from tests.conftest import RunPython
from tests.graph.conftest import REPLAYED_TOO_EARLY, capture


def test_capture_runs_nothing_and_replay_everything() -> None:
    x = torch.ones(4, device="cuda")
    total = torch.zeros(4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * 2 + 1
        total += y
    assert total.tolist() == [0] * 4, "captured work has not run"
    graph.replay()
    assert (y.tolist(), total.tolist()) == ([3] * 4, [3] * 4)
    x.fill_(10)
    graph.replay()
    assert (y.tolist(), total.tolist()) == ([21] * 4, [24] * 4)


def test_views_lists_and_several_results() -> None:
    x = torch.randn(6, 4, device="cuda")
    index = torch.tensor([2, 0], device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        first, second = x.t().chunk(2)
        values, positions = (first + 1).max(dim=1)
        second.mul_(3)
        joined = torch.cat([first, second])
        picked = joined[index]
        grown = torch._foreach_add([values, picked], 1.0)
    x.copy_(torch.arange(24.0).view(6, 4))
    graph.replay()
    expected = torch.arange(24.0).view(6, 4)
    expected[:, 2:] *= 3
    torch.testing.assert_close(x.cpu(), expected)
    torch.testing.assert_close(values.cpu(), expected.t()[:2].max(dim=1).values + 1)
    assert positions.tolist() == [5, 5]
    torch.testing.assert_close(picked.cpu(), expected.t()[[2, 0]])
    torch.testing.assert_close(grown[1], picked + 1)


def test_joined_streams() -> None:
    x = torch.ones(4, device="cuda")
    side = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            assert torch.cuda.is_current_stream_capturing()
            y = x + 1
        torch.cuda.current_stream().wait_stream(side)
        z = y * 2
    assert not torch.cuda.is_current_stream_capturing()
    x.fill_(3)
    graph.replay()
    assert z.tolist() == [8] * 4


def test_work_on_other_streams_runs_at_once() -> None:
    x = torch.ones(4, device="cuda")
    other = torch.cuda.Stream()
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.ones(1, device="cuda")
        with torch.cuda.stream(other):
            assert not torch.cuda.is_current_stream_capturing()
            x.add_(1)
    other.synchronize()
    assert x.tolist() == [2] * 4


def test_custom_operators_are_captured_by_what_they_do() -> None:
    calls = []

    @torch.library.custom_op("td_graph_test::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x * 2

    x = torch.ones(3, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = twice(x)
    x.fill_(4)
    graph.replay()
    assert y.tolist() == [8] * 3
    assert len(calls) == 1, "Python code runs at capture, not at replay"


def test_empty_graphs_warn() -> None:
    with pytest.warns(UserWarning, match="The CUDA Graph is empty"):
        capture(lambda: None).replay()


def test_keep_graph_and_debug_dump(tmp_path: Path) -> None:
    graph = torch.cuda.CUDAGraph(keep_graph=True)
    with torch.cuda.graph(graph):
        torch.ones(2, device="cuda") + 1
    graph.instantiate()
    graph.instantiate()
    graph.replay()
    graph.debug_dump(str(tmp_path / "graph.dot"))
    text = (tmp_path / "graph.dot").read_text()
    assert text.startswith("digraph")
    assert "aten::add" in text


def test_reset_and_capture_again() -> None:
    graph = torch.cuda.CUDAGraph()
    for value in (1.0, 2.0):
        with torch.cuda.graph(graph):
            x = torch.full((2,), value, device="cuda")
        graph.replay()
        assert x.tolist() == [value] * 2
        graph.reset()
    with pytest.raises(RuntimeError, match=REPLAYED_TOO_EARLY):
        graph.replay()


def test_captures_on_two_threads_at_once() -> None:
    barrier = threading.Barrier(2)
    results: dict[int, list[float]] = {}

    def work(index: int) -> None:
        x = torch.full((8,), float(index), device="cuda")
        stream = torch.cuda.Stream()
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        barrier.wait()
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            y = x
            for _ in range(20):
                y = y + 1
            graph.capture_end()
        barrier.wait()
        x.fill_(100.0 * index)
        graph.replay()
        results[index] = y.tolist()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: [20.0] * 8, 1: [120.0] * 8}


def test_a_graph_left_in_the_middle_of_a_capture(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        x = torch.ones(3, device="cuda")
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin()
            x.add_(1)
            del graph
            assert not torch.cuda.is_current_stream_capturing()
        assert x.tolist() == [1] * 3
        torch.cuda.synchronize()
        """
    )


def test_two_devices(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        x = torch.ones(3, device="cuda:1")
        elsewhere = torch.zeros(3, device="cuda:0")
        with torch.cuda.device(1):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                y = x * 5
                elsewhere.add_(1)  # cuda:0's current stream is not captured
        assert elsewhere.tolist() == [1] * 3
        x.fill_(2)
        graph.replay()
        assert y.tolist() == [10] * 3 and elsewhere.tolist() == [1] * 3
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_a_stream_of_another_device_joins(run_python: RunPython) -> None:
    """Its work is captured, and the stream of the same id on the capture's own device is not."""
    run_python(
        """
        import torch
        first, origin, side = torch.cuda.Stream(0), torch.cuda.Stream(0), torch.cuda.Stream(1)
        assert side.stream_id == first.stream_id != origin.stream_id
        namesake = torch.cuda.Stream(stream_id=side.stream_id, device_index=0, device_type=1)
        x, y, z = (torch.ones(3, device=device) for device in ("cuda:0", "cuda:1", "cuda:0"))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=origin):
            x.add_(1)
            side.wait_stream(origin)
            with torch.cuda.stream(side):
                assert torch.cuda.is_current_stream_capturing()
                y.mul_(3).add_(1)
            with torch.cuda.stream(namesake):
                assert not torch.cuda.is_current_stream_capturing()
                z.add_(1)
            origin.wait_stream(side)
        assert (x.tolist(), y.tolist(), z.tolist()) == ([1] * 3, [1] * 3, [2] * 3), (x, y, z)
        graph.replay()
        assert (x.tolist(), y.tolist(), z.tolist()) == ([2] * 3, [4] * 3, [2] * 3), (x, y, z)
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_a_capture_begun_in_a_backward_pass_ends_after_it(run_python: RunPython) -> None:
    """The pass restores the thread's state, and with it what the capture had put there."""
    code = """
        import torch
        stream = torch.cuda.Stream()
        graph = torch.cuda.CUDAGraph()
        x = torch.zeros(4, device="cuda")

        class Begins(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, gradient):
                graph.capture_begin()
                x.add_(1)
                return gradient

        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            Begins.apply(torch.ones(2, requires_grad=True)).sum().backward()
            x.mul_(2)
            graph.capture_end()
        graph.replay()
        torch.cuda.synchronize()
        print(x.tolist())
    """
    process = run_python(code)
    assert process.stdout == "[2.0, 2.0, 2.0, 2.0]\n"
    assert "callback" not in process.stderr
