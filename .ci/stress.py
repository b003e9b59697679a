"""Eight threads over two devices for a while: `stress.py SECONDS`. Ends with an error if a result is wrong."""

from __future__ import annotations

import os
import random
import sys
import threading
import time

os.environ.setdefault("TORCHDEVICE_COUNT", "2")

import torch

THREADS = 8


def operators(rng: random.Random, device: torch.device) -> None:
    x = torch.full((rng.choice([3, 300, 30_000]),), 2.0, device=device)
    y = (x * 3 + 1).relu_()
    assert y[-1].item() == 7, "wrong result"
    torch.cat([x, y])[::2].clone().add_(1)


# TorchScript lets go of Python's lock, so that threads meet at a device's memory.
chain = torch.jit.CompilationUnit(
    """
    def chain(x, n: int):
        for _ in range(n):
            x = (x + 1) * 0.5
        return x
    """
).chain


def without_the_gil(rng: random.Random, device: torch.device) -> None:
    x = torch.zeros(rng.choice([3, 300]), device=device)
    assert chain(x, 500)[-1].item() == 1, "wrong result"


def backward(_rng: random.Random, device: torch.device) -> None:
    x = torch.ones(16, 16, device=device, requires_grad=True)
    (x @ x).sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0].item() == 32, "wrong gradient"


def streams_and_events(rng: random.Random, device: torch.device) -> None:
    stream = torch.cuda.Stream(device, priority=rng.choice([0, -1]))
    event = torch.cuda.Event(enable_timing=True)
    with torch.cuda.stream(stream):
        x = torch.ones(1000, device=device)
        event.record()
    torch.cuda.current_stream(device).wait_event(event)
    x.record_stream(torch.cuda.current_stream(device))
    event.synchronize()
    assert event.query()


def random_numbers(_rng: random.Random, device: torch.device) -> None:
    assert 0 <= torch.rand(100, device=device).min().item() < 1
    torch.nn.functional.dropout(torch.ones(100, device=device), 0.5)


def copies(rng: random.Random, device: torch.device) -> None:
    host = torch.arange(1000.0).pin_memory()
    x = host.to(device, non_blocking=True).to(f"cuda:{rng.randrange(torch.cuda.device_count())}")
    assert x.cpu()[-1].item() == 999, "wrong copy"


#: Streams come from a pool, in turn, so that two threads may get the same one; captured streams must have one user.
capture_streams: dict[tuple[int, int], torch.cuda.Stream] = {}


def graphs(_rng: random.Random, device: torch.device) -> None:
    x = torch.ones(10, device=device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(capture_streams[threading.get_ident(), device.index]):
        graph.capture_begin(capture_error_mode="relaxed")
        y = x + 1
        graph.capture_end()
    x.fill_(5)
    graph.replay()
    assert y.tolist() == [6.0] * 10, "wrong replay"


#: One of each device, for whichever threads come to it.
meeting_streams: dict[int, torch.cuda.Stream] = {}


def captures_that_meet(_rng: random.Random, device: torch.device) -> None:
    x = torch.ones(64, device=device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(meeting_streams[device.index]):
        try:
            graph.capture_begin(capture_error_mode="relaxed")
        except RuntimeError:  # another thread captures: this work becomes a part of its graph, or runs
            x + 1
            return
        (x * 2).softmax(0).sum()
        graph.capture_end()
    graph.replay()


def statistics(_rng: random.Random, device: torch.device) -> None:
    torch.cuda.memory_stats(device)
    torch.cuda.memory_snapshot()
    torch.cuda.mem_get_info(device)
    if _rng.random() < 0.1:
        torch.cuda.empty_cache()


WORK = [
    *[operators, without_the_gil] * 2,
    backward,
    streams_and_events,
    random_numbers,
    copies,
    graphs,
    captures_that_meet,
    statistics,
]


def main(seconds: float) -> int:
    end = time.monotonic() + seconds
    errors: list[BaseException] = []
    rounds = [0] * THREADS

    for device in range(torch.cuda.device_count()):
        meeting_streams[device] = torch.cuda.Stream(device, priority=-3)

    def run(index: int) -> None:
        rng = random.Random(index)
        for device in range(torch.cuda.device_count()):
            capture_streams[threading.get_ident(), device] = torch.cuda.Stream(device, priority=-2)
        try:
            while time.monotonic() < end and not errors:
                where = torch.device("cuda", rng.randrange(torch.cuda.device_count()))
                with torch.cuda.device(where):
                    rng.choice(WORK)(rng, where)
                rounds[index] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{sum(rounds)} rounds on {THREADS} threads and {torch.cuda.device_count()} devices")
    if errors:
        raise errors[0]
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
