"""CUDA graphs: capture runs nothing, replay runs everything on the same memory with what the inputs hold then.

Behaviour and texts are those of aten/src/ATen/cuda/CUDAGraph.cpp and of torch's test/test_cuda.py; the CUDA errors are
those of the CUDA runtime's documentation of stream capture, not yet compared with a GPU.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import RunPython

pytestmark = pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream does not match")


@pytest.fixture(autouse=True)
def _default_stream() -> Iterator[None]:
    """torch.cuda.graph leaves its stream current when capture_end() raises, also on a GPU."""
    yield
    torch.cuda.set_stream(torch.cuda.default_stream())


def capture(work: Callable[[], object], **options: object) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, **options):
        work()
    return graph


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


def test_random_numbers_advance_with_every_replay() -> None:
    torch.cuda.manual_seed(7)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        first = torch.rand(5, device="cuda")
        kept = nn.functional.dropout(torch.ones(1000, device="cuda"), 0.5)
    generator = torch.cuda.default_generators[0]
    assert generator.get_offset() == 0, "a capture draws nothing"
    rounds = []
    for _ in range(2):
        graph.replay()
        rounds.append((first.clone(), kept.clone()))
    assert not torch.equal(rounds[0][0], rounds[1][0])
    assert not torch.equal(rounds[0][1], rounds[1][1])
    torch.cuda.manual_seed(7)
    for expected in rounds:
        assert torch.equal(torch.rand(5, device="cuda"), expected[0])
        assert torch.equal(nn.functional.dropout(torch.ones(1000, device="cuda"), 0.5), expected[1])


def test_a_generator_of_its_own() -> None:
    generator = torch.Generator("cuda").manual_seed(3)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        x = torch.randn(4, device="cuda", generator=generator)
    graph.replay()
    expected = torch.randn(4, device="cuda", generator=torch.Generator("cuda").manual_seed(3))
    assert torch.equal(x, expected)


def test_a_generator_that_nobody_registered() -> None:
    generator = torch.Generator("cuda")
    with pytest.raises(RuntimeError, match="Attempt to increase offset for a CUDA generator not in capture mode"):
        capture(lambda: torch.randn(4, device="cuda", generator=generator))


def test_replays_draw_from_the_states_of_the_capture() -> None:
    default = torch.cuda.default_generators[0]
    first, second = default.graphsafe_get_state(), default.clone_state()
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(second)
    with torch.cuda.graph(graph):
        default.graphsafe_set_state(second)
        kept = nn.functional.dropout(torch.ones(100, device="cuda"), 0.5)
        default.graphsafe_set_state(first)
        numbers = torch.rand(4, device="cuda")
    offsets = first.get_offset(), second.get_offset()
    graph.replay()
    default.graphsafe_set_state(second)
    graph.replay()
    default.graphsafe_set_state(first)
    assert (first.get_offset() - offsets[0], second.get_offset() - offsets[1]) == (8, 8)
    assert (kept.shape, numbers.shape) == ((100,), (4,))


def test_registered_states_hold_two_cells_of_memory() -> None:
    states = [torch.cuda.default_generators[0], torch.Generator("cuda"), torch.Generator("cuda")]
    before = torch.cuda.memory_stats()["active.all.current"]
    graphs = [torch.cuda.CUDAGraph() for _ in range(2)]
    for graph in graphs:
        for state in states:
            graph.register_generator_state(state)
    assert torch.cuda.memory_stats()["active.all.current"] - before == 2 * len(states)
    del graphs, graph
    assert torch.cuda.memory_stats()["active.all.current"] == before


def test_a_whole_training_step() -> None:
    """Forward, loss, backward and a capturable optimizer in one graph give what the same steps give eagerly."""

    def run(graphed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1)).cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, capturable=True)
        data = torch.randn(12, 32, 8, device="cuda")
        targets = data.sum(dim=2, keepdim=True)
        x, target = data[0].clone(), targets[0].clone()

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.mse_loss(model(x), target).backward()
            optimizer.step()

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        optimizer.zero_grad(set_to_none=True)
        replay = capture(step).replay if graphed else step
        for i in range(1, 12):
            x.copy_(data[i])
            target.copy_(targets[i])
            replay()
        return [t.detach().clone() for t in model.state_dict().values()]

    for graphed, eager in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(graphed, eager, rtol=0, atol=0)


def test_amp_in_a_graph() -> None:
    layer = nn.Linear(8, 8).cuda()
    scaler = torch.amp.GradScaler("cuda", init_scale=4.0)
    x = torch.randn(4, 8, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
        loss = layer(x).float().sum()
        scaler.scale(loss).backward()
    x.normal_()
    graph.replay()
    expected = torch.autograd.grad(layer.to(torch.bfloat16)(x.bfloat16()).float().sum() * 4, list(layer.parameters()))
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient.to(parameter.grad.dtype), rtol=0.02, atol=0.1)


@pytest.mark.parametrize("count", [1, 2])
def test_make_graphed_callables(count: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.0), nn.Tanh()).cuda() for _ in range(count)]
    reference = [nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.0), nn.Tanh()).cuda() for _ in range(count)]
    for a, b in zip(layers, reference, strict=True):
        b.load_state_dict(a.state_dict())
    samples = tuple((torch.randn(5, 6, device="cuda", requires_grad=True),) for _ in layers)
    if count == 1:
        graphed = [torch.cuda.make_graphed_callables(layers[0], samples[0])]
    else:
        graphed = list(torch.cuda.make_graphed_callables(tuple(layers), samples))
    for _ in range(2):
        for module in layers + reference:
            module.zero_grad()
        x = torch.randn(5, 6, device="cuda", requires_grad=True)
        y = x.detach().clone().requires_grad_()
        out, expected = x, y
        for a, b in zip(graphed, reference, strict=True):
            out, expected = a(out), b(expected)
        torch.testing.assert_close(out, expected, rtol=0, atol=0)
        out.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
        for a, b in zip(layers, reference, strict=True):
            for p, q in zip(a.parameters(), b.parameters(), strict=True):
                torch.testing.assert_close(p.grad, q.grad)


def test_a_graphed_function() -> None:
    samples = (torch.ones(3, 3, device="cuda"), torch.ones(3, 3, device="cuda"))
    function = torch.cuda.make_graphed_callables(lambda a, b: a @ b + a, samples)
    a, b = torch.randn(2, 3, 3, device="cuda")
    torch.testing.assert_close(function(a, b), a @ b + a, rtol=0, atol=0)


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
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
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


def test_input_liveness_check() -> None:
    x = torch.ones(2, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, check_input_liveness=True):
        y = x + 1
    graph.replay()
    assert y.tolist() == [2, 2]


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


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "loss",
    [
        nn.functional.mse_loss,
        nn.functional.l1_loss,
        nn.functional.smooth_l1_loss,
        nn.functional.huber_loss,
        nn.functional.soft_margin_loss,
        nn.functional.binary_cross_entropy,
    ],
)
@pytest.mark.filterwarnings("error:An output with one or more elements was resized")
def test_losses_replay_into_their_scalar(loss: Callable[..., torch.Tensor], reduction: str) -> None:
    """Their out= overloads resize `out` to the shape of the inputs before they reduce."""
    x = torch.rand(50, 10, device="cuda")
    target = torch.rand(50, 10, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = loss(x, target, reduction=reduction)
        twice = y * 2
    address = y.data_ptr()
    for _ in range(3):
        x.uniform_()
        graph.replay()
        expected = loss(x, target, reduction=reduction)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(twice, expected * 2)
    assert y.data_ptr() == address
    assert y.shape == ()
