"""Races, each several ways: a faulty program, and its twin with `_mended` that differs in what orders the two."""

from __future__ import annotations

import threading

import torch

N = 1024


def ready() -> tuple[torch.Tensor, torch.cuda.Stream]:
    """A tensor that all streams may use, and a stream."""
    x = torch.ones(N, device="cuda")
    torch.cuda.synchronize()
    return x, torch.cuda.Stream()


def read_after_write() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        x.mul_(2)
    x.sum()


def read_after_write_mended() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        x.mul_(2)
    torch.cuda.current_stream().wait_stream(side)
    x.sum()


def write_after_read() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        x.sum()
    x.zero_()


def write_after_read_mended() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        x.sum()
    side.synchronize()
    x.zero_()


def write_after_write() -> None:
    x, side = ready()
    x.fill_(1)
    with torch.cuda.stream(side):
        x.fill_(2)


def write_after_write_mended() -> None:
    x, side = ready()
    x.fill_(1)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x.fill_(2)


def result_of_another_stream() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        y = x + 1
    torch.cat([y, y])


def result_of_another_stream_mended() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        y = x + 1
        done = side.record_event()
    done.wait()
    torch.cat([y, y])


def event_recorded_too_early() -> None:
    x, side = ready()
    event = torch.cuda.Event()
    with torch.cuda.stream(side):
        event.record()
        x.add_(1)
    event.wait()
    x.sum()


def event_recorded_too_early_mended() -> None:
    x, side = ready()
    event = torch.cuda.Event()
    with torch.cuda.stream(side):
        x.add_(1)
        event.record()
    event.wait()
    x.sum()


def event_never_recorded() -> None:
    x, side = ready()
    event = torch.cuda.Event()
    with torch.cuda.stream(side):
        x.add_(1)
    event.wait()
    x.sum()


def event_never_recorded_mended() -> None:
    event_recorded_too_early_mended()


def event_recorded_again() -> None:
    x, side = ready()
    other = torch.cuda.Stream()
    event = torch.cuda.Event()
    with torch.cuda.stream(side):
        x.add_(1)
        event.record()
    event.record(other)
    event.wait()
    x.sum()


def event_recorded_again_mended() -> None:
    x, side = ready()
    other = torch.cuda.Stream()
    event = torch.cuda.Event()
    event.record(other)
    with torch.cuda.stream(side):
        x.add_(1)
        event.record()
    event.wait()
    x.sum()


def wait_in_the_wrong_direction() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        x.add_(1)
    side.wait_stream(torch.cuda.current_stream())
    x.sum()


def wait_in_the_wrong_direction_mended() -> None:
    read_after_write_mended()


def wait_of_the_wrong_stream() -> None:
    x, side = ready()
    other = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x.add_(1)
    other.wait_stream(side)
    x.sum()


def wait_of_the_wrong_stream_mended() -> None:
    x, side = ready()
    other = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x.add_(1)
    other.wait_stream(side)
    torch.cuda.current_stream().wait_stream(other)
    x.sum()


def synchronize_of_another_stream() -> None:
    x, side = ready()
    other = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x.add_(1)
    other.synchronize()
    x.sum()


def synchronize_of_another_stream_mended() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        x.add_(1)
    torch.cuda.synchronize()
    x.sum()


def two_readers_then_a_writer() -> None:
    x, side = ready()
    other = torch.cuda.Stream()
    for stream in (side, other):
        with torch.cuda.stream(stream):
            x.sum()
    torch.cuda.current_stream().wait_stream(other)
    x.zero_()


def two_readers_then_a_writer_mended() -> None:
    x, side = ready()
    other = torch.cuda.Stream()
    for stream in (side, other):
        with torch.cuda.stream(stream):
            x.sum()
        torch.cuda.current_stream().wait_stream(stream)
    x.zero_()


def overlapping_slices() -> None:
    x, side = ready()
    x[: N // 2 + 1].zero_()
    with torch.cuda.stream(side):
        x[N // 2 :].fill_(1)


def overlapping_slices_mended() -> None:
    x, side = ready()
    x[: N // 2].zero_()
    with torch.cuda.stream(side):
        x[N // 2 :].fill_(1)


def columns_that_meet() -> None:
    x, side = ready()
    table = x.view(32, 32)
    table[:, :9].zero_()
    with torch.cuda.stream(side):
        table[:, 8:].fill_(1)


def columns_that_meet_mended() -> None:
    x, side = ready()
    table = x.view(32, 32)
    table[:, :8].zero_()
    with torch.cuda.stream(side):
        table[:, 8:].fill_(1)


def every_other_element() -> None:
    x, side = ready()
    x[::2].zero_()
    with torch.cuda.stream(side):
        x[::3].fill_(1)


def every_other_element_mended() -> None:
    x, side = ready()
    x[::2].zero_()
    with torch.cuda.stream(side):
        x[1::2].fill_(1)


def out_argument() -> None:
    x, side = ready()
    y = torch.empty_like(x)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.mul(x, 3, out=y)
    y.exp()


def out_argument_mended() -> None:
    x, side = ready()
    y = torch.empty_like(x)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.mul(x, 3, out=y)
    side.record_event().synchronize()
    y.exp()


def lists_of_tensors() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        torch._foreach_add_([x[:8], x[8:]], 1.0)
    x.sum()


def lists_of_tensors_mended() -> None:
    x, side = ready()
    with torch.cuda.stream(side):
        torch._foreach_add_([x[:8], x[8:]], 1.0)
        done = torch.cuda.current_stream().record_event()
    torch.cuda.current_stream().wait_event(done)
    x.sum()


def host_reads_too_early() -> None:
    x, _ = ready()
    y = x.to("cpu", non_blocking=True)
    y.sum().item()


def host_reads_too_early_mended() -> None:
    x, _ = ready()
    y = x.to("cpu", non_blocking=True)
    torch.cuda.current_stream().synchronize()
    y.sum().item()


def pinned_buffer_read_too_early() -> None:
    x, _ = ready()
    buffer = torch.empty(N, pin_memory=True)
    buffer.copy_(x, non_blocking=True)
    buffer.tolist()


def pinned_buffer_read_too_early_mended() -> None:
    x, _ = ready()
    buffer = torch.empty(N, pin_memory=True)
    buffer.copy_(x, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    event.synchronize()
    buffer.tolist()


def pinned_buffer_filled_again() -> None:
    x, _ = ready()
    buffer = torch.ones(N).pin_memory()
    x.copy_(buffer, non_blocking=True)
    buffer.fill_(2)


def pinned_buffer_filled_again_mended() -> None:
    x, _ = ready()
    buffer = torch.ones(N).pin_memory()
    x.copy_(buffer, non_blocking=True)
    torch.cuda.current_stream().record_event().synchronize()
    buffer.fill_(2)


def prefetched_batch() -> None:
    _, side = ready()
    host = torch.ones(N).pin_memory()
    weight = torch.ones(N, device="cuda")
    with torch.cuda.stream(side):
        batch = host.to("cuda", non_blocking=True)
    (batch * weight).sum()


def prefetched_batch_mended() -> None:
    _, side = ready()
    host = torch.ones(N).pin_memory()
    weight = torch.ones(N, device="cuda")
    with torch.cuda.stream(side):
        batch = host.to("cuda", non_blocking=True)
    torch.cuda.current_stream().wait_stream(side)
    batch.record_stream(torch.cuda.current_stream())
    (batch * weight).sum()


def side_stream_begins_too_early() -> None:
    x, side = ready()
    y = x * 2
    with torch.cuda.stream(side):
        y.sum()


def side_stream_begins_too_early_mended() -> None:
    x, side = ready()
    y = x * 2
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y.sum()
    torch.cuda.current_stream().wait_stream(side)


def gradients_of_a_side_stream() -> None:
    _, side = ready()
    layer = torch.nn.Linear(8, 8, device="cuda")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        layer.weight.grad = torch.ones_like(layer.weight)
        layer.bias.grad = torch.ones_like(layer.bias)
    optimizer.step()


def gradients_of_a_side_stream_mended() -> None:
    _, side = ready()
    layer = torch.nn.Linear(8, 8, device="cuda")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        layer.weight.grad = torch.ones_like(layer.weight)
        layer.bias.grad = torch.ones_like(layer.bias)
    torch.cuda.current_stream().wait_stream(side)
    optimizer.step()


def module_on_a_side_stream() -> None:
    x, side = ready()
    layer = torch.nn.Linear(N, 8, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        y = layer(x)
    y.sum().backward()


def module_on_a_side_stream_mended() -> None:
    x, side = ready()
    layer = torch.nn.Linear(N, 8, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        y = layer(x)
    torch.cuda.current_stream().wait_stream(side)
    y.sum().backward()
    torch.cuda.synchronize()


def _graph(x: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * 2
    torch.cuda.synchronize()
    return graph, y


def output_of_a_graph() -> None:
    x, side = ready()
    graph, y = _graph(x)
    with torch.cuda.stream(side):
        graph.replay()
    y.sum()


def output_of_a_graph_mended() -> None:
    x, side = ready()
    graph, y = _graph(x)
    with torch.cuda.stream(side):
        graph.replay()
    torch.cuda.current_stream().wait_stream(side)
    y.sum()


def input_of_a_graph() -> None:
    x, side = ready()
    graph, _ = _graph(x)
    with torch.cuda.stream(side):
        x.copy_(torch.zeros(N, device="cuda"))
    graph.replay()


def input_of_a_graph_mended() -> None:
    x, side = ready()
    graph, _ = _graph(x)
    with torch.cuda.stream(side):
        x.copy_(torch.zeros(N, device="cuda"))
    torch.cuda.current_stream().wait_stream(side)
    graph.replay()


def within_a_graph() -> None:
    x, side = ready()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * 2
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            y.add_(1)
        z = y + 1
        torch.cuda.current_stream().wait_stream(side)
    assert z is not None


def within_a_graph_mended() -> None:
    x, side = ready()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * 2
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            y.add_(1)
        torch.cuda.current_stream().wait_stream(side)
        z = y + 1
    assert z is not None


def streams_of_two_threads() -> None:
    x, side = ready()
    other = torch.cuda.Stream()

    def work(stream: torch.cuda.Stream) -> None:
        with torch.cuda.stream(stream):
            x.add_(1)

    threads = [threading.Thread(target=work, args=(stream,)) for stream in (side, other)]
    for thread in threads:
        thread.start()
        thread.join()


def streams_of_two_threads_mended() -> None:
    x, side = ready()
    other = torch.cuda.Stream()

    def work(stream: torch.cuda.Stream) -> None:
        with torch.cuda.stream(stream):
            x.add_(1)
        stream.synchronize()

    threads = [threading.Thread(target=work, args=(stream,)) for stream in (side, other)]
    for thread in threads:
        thread.start()
        thread.join()


def copy_between_devices() -> None:
    x, _ = ready()
    side = torch.cuda.Stream(1)
    y = torch.zeros(N, device="cuda:1")
    torch.cuda.synchronize(1)
    with torch.cuda.stream(side):
        y.add_(1)
    x.copy_(y)


def copy_between_devices_mended() -> None:
    x, _ = ready()
    side = torch.cuda.Stream(1)
    y = torch.zeros(N, device="cuda:1")
    torch.cuda.synchronize(1)
    with torch.cuda.stream(side):
        y.add_(1)
    torch.cuda.current_stream(1).wait_stream(side)
    x.copy_(y)
    y.zero_()
    torch.cuda.synchronize()
