"""Memory that is freed while another stream may still use it, each way with a twin that keeps it long enough."""

from __future__ import annotations

import torch

N = 1024
LARGE = 1 << 19  # floats: from the pool of large blocks


def side_stream() -> torch.cuda.Stream:
    torch.cuda.synchronize()
    return torch.cuda.Stream()


def use_on(stream: torch.cuda.Stream, x: torch.Tensor) -> None:
    """Ordered after what was done with `x`."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        x.sum()


def no_record_stream() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    use_on(side, x)
    del x
    torch.ones(N, device="cuda")


def no_record_stream_mended() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    use_on(side, x)
    x.record_stream(side)
    del x
    torch.ones(N, device="cuda")


def waits_after_the_reuse() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    use_on(side, x)
    del x
    torch.ones(N, device="cuda")
    torch.cuda.current_stream().wait_stream(side)


def waits_after_the_reuse_mended() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    use_on(side, x)
    del x
    torch.cuda.current_stream().wait_stream(side)
    torch.ones(N, device="cuda")


def recorded_on_the_wrong_stream() -> None:
    side, other = side_stream(), torch.cuda.Stream()
    x = torch.ones(N, device="cuda")
    use_on(side, x)
    x.record_stream(other)
    del x
    torch.ones(N, device="cuda")


def recorded_on_the_wrong_stream_mended() -> None:
    side, other = side_stream(), torch.cuda.Stream()
    x = torch.ones(N, device="cuda")
    use_on(side, x)
    x.record_stream(other)
    x.record_stream(side)
    del x
    torch.ones(N, device="cuda")


def large_memory() -> None:
    side = side_stream()
    x = torch.ones(LARGE, device="cuda")
    use_on(side, x)
    del x
    torch.ones(LARGE, device="cuda")


def large_memory_mended() -> None:
    """What is allocated next comes from another pool."""
    side = side_stream()
    x = torch.ones(LARGE, device="cuda")
    use_on(side, x)
    del x
    torch.ones(N, device="cuda")
    torch.cuda.current_stream().wait_stream(side)
    torch.ones(LARGE, device="cuda")


def result_of_a_side_stream() -> None:
    side = side_stream()
    with torch.cuda.stream(side):
        y = torch.ones(N, device="cuda")
    torch.cuda.current_stream().wait_stream(side)
    y.sum()
    del y
    with torch.cuda.stream(side):
        torch.ones(N, device="cuda")


def result_of_a_side_stream_mended() -> None:
    side = side_stream()
    with torch.cuda.stream(side):
        y = torch.ones(N, device="cuda")
    torch.cuda.current_stream().wait_stream(side)
    y.sum()
    y.record_stream(torch.cuda.current_stream())
    del y
    with torch.cuda.stream(side):
        torch.ones(N, device="cuda")


def temporary_of_an_expression() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    y = x * 2
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        z = y.neg()
    y = torch.zeros(N, device="cuda")
    y = y + 1
    assert z is not y


def temporary_of_an_expression_mended() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    y = x * 2
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        z = y.neg()
    torch.cuda.current_stream().wait_stream(side)
    y = torch.zeros(N, device="cuda")
    y = y + 1
    assert z is not y


def prefetched_batches() -> None:
    """The loop that everybody writes: a batch is copied on one stream and used on another."""
    side = side_stream()
    host = torch.ones(N).pin_memory()
    for _ in range(3):
        with torch.cuda.stream(side):
            batch = host.to("cuda", non_blocking=True)
        torch.cuda.current_stream().wait_stream(side)
        batch.sum()


def prefetched_batches_mended() -> None:
    side = side_stream()
    host = torch.ones(N).pin_memory()
    for _ in range(3):
        with torch.cuda.stream(side):
            batch = host.to("cuda", non_blocking=True)
        torch.cuda.current_stream().wait_stream(side)
        batch.record_stream(torch.cuda.current_stream())
        batch.sum()


def view_that_is_used() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    part = x[10:20]
    del x
    use_on(side, part)
    del part
    torch.ones(N, device="cuda")


def view_that_is_used_mended() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    part = x[10:20]
    del x
    use_on(side, part)
    part.record_stream(side)
    del part
    torch.ones(N, device="cuda")


def copied_to_the_host() -> None:
    """The copy on the side stream is not done when its source is freed."""
    side = side_stream()
    x = torch.ones(N, device="cuda")
    buffer = torch.empty(N, pin_memory=True)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        buffer.copy_(x, non_blocking=True)
    del x
    torch.ones(N, device="cuda")
    side.synchronize()


def copied_to_the_host_mended() -> None:
    side = side_stream()
    x = torch.ones(N, device="cuda")
    buffer = torch.empty(N, pin_memory=True)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        buffer.copy_(x, non_blocking=True)
    side.synchronize()
    del x
    torch.ones(N, device="cuda")


def _capture(x: torch.Tensor) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        (x + 1).sum()
    return graph


def replay_on_an_input_that_is_gone() -> None:
    graph = _capture(torch.ones(1024, device="cuda"))
    graph.replay()


def replay_on_an_input_that_is_gone_mended() -> None:
    x = torch.ones(1024, device="cuda")
    graph = _capture(x)
    x.copy_(torch.zeros(1024))
    graph.replay()


def replay_on_an_input_that_was_replaced() -> None:
    batch = {"x": torch.ones(1024, device="cuda")}
    graph = _capture(batch["x"][:512])
    batch["x"] = torch.zeros(1024, device="cuda")
    graph.replay()


def replay_on_an_input_that_was_replaced_mended() -> None:
    batch = {"x": torch.ones(1024, device="cuda")}
    graph = _capture(batch["x"][:512])
    batch["x"].zero_()
    graph.replay()
