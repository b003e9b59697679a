"""Random numbers in CUDA graphs: each replay goes on in the states of the capture's generators."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.graph.conftest import capture


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
