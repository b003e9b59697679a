"""Rounds of captures and replays, compared with the same work outside of a graph; some captures fail half way."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable

import torch

from conformance.fuzz.worker import Finding, check_error

Tensors = list[torch.Tensor]
Step = Callable[[Tensors], None]

SIZE = 6


def steps(rng: random.Random) -> list[Step]:
    """A program on a list of square matrices, which it changes and adds to: at first an input and a state."""

    def on_new(function: Callable[..., torch.Tensor], *places: int) -> Step:
        return lambda tensors: tensors.append(function(*(tensors[place % len(tensors)] for place in places)))

    def in_place(function: Callable[..., object], *places: int) -> Step:
        def step(tensors: Tensors) -> None:
            function(*(tensors[place % len(tensors)] for place in places))

        return step

    def any_place() -> int:
        return rng.randrange(64)

    def one() -> Step:
        scale = rng.choice((0.5, 2.0, -1.0))
        return rng.choice((
            lambda: on_new(torch.add, any_place(), any_place()),
            lambda: on_new(lambda a, b: torch.mm(a, b).tanh(), any_place(), any_place()),
            lambda: on_new(lambda a: torch.relu(a) * scale, any_place()),
            lambda: on_new(lambda a: a.t().contiguous(), any_place()),
            lambda: on_new(lambda a, b: torch.cat([a[:2], b[2:]]), any_place(), any_place()),
            lambda: on_new(lambda a: torch.softmax(a, 0), any_place()),
            lambda: on_new(lambda a: a.sort(1).values.cumsum(0).clamp(-4, 4), any_place()),
            lambda: in_place(lambda a: a.mul_(scale).clamp_(-8, 8), any_place()),
            lambda: in_place(lambda a, b: a.copy_(b.tanh()), 1, any_place()),
            lambda: in_place(lambda a, b: a[1:3].add_(b[0].tanh()), any_place(), any_place()),
            lambda: in_place(lambda a: a.zero_() if scale < 0 else a.t().add_(scale), any_place()),
        ))()  # fmt: skip

    return [one() for _ in range(rng.randrange(1, 12))]


def work(program: list[Step], value: torch.Tensor, state: torch.Tensor) -> Tensors:
    tensors = [value, state]
    for step in program:
        step(tensors)
    return tensors


def capture_and_replay(rng: random.Random, stream: torch.cuda.Stream, failures: list[str]) -> Counter[str]:
    program = steps(rng)
    device = stream.device
    value, state = torch.randn(SIZE, SIZE, device=device), torch.randn(SIZE, SIZE, device=device)
    before = value.clone(), state.clone()
    expected_state = state.clone()
    graph = torch.cuda.CUDAGraph()
    if rng.random() < 0.1:
        _fail_half_way(program, value, state, stream)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        captured = work(program, value, state)
    if not (torch.equal(value, before[0]) and torch.equal(state, before[1])):
        failures.append("a capture changed what it was to leave")
    replays = rng.randrange(1, 8)
    for _ in range(replays):
        fresh = torch.randn(SIZE, SIZE, device=device)
        value.copy_(fresh)
        expected = work(program, fresh, expected_state)
        graph.replay()
        for index, (one, other) in enumerate(zip(captured, expected, strict=True)):
            if not torch.equal(one, other):
                failures.append(f"tensor {index} after a replay: {one} and not {other}")
                return Counter()
    return Counter(captures=1, replays=replays, calls=len(program) * (replays + 1))


def _fail_half_way(program: list[Step], value: torch.Tensor, state: torch.Tensor, stream: torch.cuda.Stream) -> None:
    """What CUDA forbids while it captures; all is as before."""
    before = value.clone(), state.clone()
    try:
        with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream, capture_error_mode="thread_local"):
            work(program, value, state)[-1].sum().item()
    except RuntimeError as error:
        check_error(error)
    else:
        raise Finding("item() in a capture raised nothing")
    value.copy_(before[0])
    state.copy_(before[1])


def run(rng: random.Random) -> Counter[str]:
    """One capture, or several at a time on threads and streams of their own."""
    torch.manual_seed(rng.randrange(2**31))
    failures: list[str] = []
    counts: Counter[str] = Counter()
    threads = rng.choice((1, 1, 1, 2, 3))
    streams = [torch.cuda.Stream(rng.randrange(torch.cuda.device_count())) for _ in range(threads)]

    def one(number: int, stream: torch.cuda.Stream) -> None:
        try:
            with torch.cuda.device(stream.device):
                counts.update(capture_and_replay(random.Random(number), stream, failures))
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")

    workers = [threading.Thread(target=one, args=(rng.randrange(2**32), stream)) for stream in streams]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise Finding("\n".join(failures))
    return counts
