"""What torchdevice claims of a machine, as checks: each raises if the claim does not hold, and may return a figure.

Run by `torchdevice doctor --full`, each in a process of its own. docs/platforms.md has the same claims by name.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import torchdevice
from torchdevice import _C


@dataclass(frozen=True)
class Claim:
    name: str
    check: Callable[[], str | None]
    #: It is about a native backend that falls back to the CPU, and says nothing of the CPU as backend.
    about_fallback: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def applies(self) -> bool:
        """Whether it is about the native backend at hand."""
        return _C.has_fallback() or not self.about_fallback


CLAIMS: dict[str, Claim] = {}

Check = Callable[[], str | None]


def claim(name: str, *, about_fallback: bool = False, **environment: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CLAIMS[name] = Claim(name, check, about_fallback, environment)
        return check

    return register


def _same(function: Callable[..., Tensor], *inputs: Tensor, tolerance: float = 1e-4) -> None:
    """The same results and gradients on cuda as on the CPU."""
    answers = []
    for device in ("cpu", "cuda"):
        leaves = [one.detach().to(device).requires_grad_(one.is_floating_point()) for one in inputs]
        result = function(*leaves)
        assert result.device.type == device, f"the result is on {result.device}"
        wanted = [one for one in leaves if one.requires_grad]
        gradients = torch.autograd.grad(result.sum(), wanted, allow_unused=True)
        answers.append([one.cpu() for one in (result.detach(), *gradients) if one is not None])
    torch.testing.assert_close(answers[1], answers[0], rtol=tolerance, atol=tolerance)


def _native() -> torch.device:
    """The device that works for cuda."""
    return torch.device(_C.native_backend_name())


@contextmanager
def _raises(kind: type[Exception], text: str) -> Iterator[None]:
    try:
        yield
    except kind as error:
        if text not in str(error):
            raise
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


@claim("results and gradients are the CPU's: element-wise, reductions, indexing")
def _elementwise() -> None:
    x, y = torch.randn(17, 33), torch.randn(17, 33)
    _same(lambda a, b: torch.tanh(a * b + a).sum(1) / b.exp().mean(), x, y)
    _same(lambda a: a.softmax(1).log().cumsum(0), x)
    _same(lambda a, i: a[i].amax(1), x, torch.tensor([3, 3, 0]))
    _same(lambda a, b: torch.where(a > 0, a, b).sort(1).values, x, y)
    _same(lambda a, b: torch.cat([a, b]).t().contiguous().view(-1)[5:50:3], x, y)


@claim("matrix products")
def _products() -> None:
    _same(torch.matmul, torch.randn(65, 30), torch.randn(30, 40))
    _same(torch.bmm, torch.randn(3, 5, 7), torch.randn(3, 7, 2))
    _same(functional.linear, torch.randn(4, 7, 5), torch.randn(3, 5), torch.randn(3))


@claim("convolutions and pooling")
def _convolutions() -> None:
    image = torch.randn(2, 3, 16, 16)
    _same(
        lambda x, w, b: functional.conv2d(x, w, b, stride=2, padding=1), image, torch.randn(4, 3, 3, 3), torch.randn(4)
    )
    _same(lambda x, w: functional.conv_transpose2d(x, w), image, torch.randn(3, 4, 3, 3))
    _same(lambda x: functional.max_pool2d(x, 2), image)
    _same(lambda x: functional.interpolate(x, scale_factor=2.0, mode="bilinear"), image)


@claim("normalization and embeddings")
def _normalization() -> None:
    _same(lambda x, w: functional.layer_norm(x, [8], w), torch.randn(4, 8), torch.randn(8))
    _same(lambda x: functional.batch_norm(x, None, None, training=True), torch.randn(4, 8, 5))
    _same(lambda i, w: functional.embedding(i, w), torch.tensor([[1, 4], [0, 1]]), torch.randn(5, 3))


@claim("recurrent networks")
def _recurrent() -> None:
    torch.manual_seed(0)
    for network in (nn.LSTM(5, 6, num_layers=2), nn.GRU(5, 6, bidirectional=True)):
        x = torch.randn(7, 3, 5)
        expected = network(x)[0].detach()
        torch.testing.assert_close(network.cuda()(x.cuda())[0].detach().cpu(), expected, rtol=1e-4, atol=1e-4)


@claim("attention")
def _attention() -> None:
    query, key, value = (torch.randn(2, 4, 9, 8) for _ in range(3))
    _same(functional.scaled_dot_product_attention, query, key, value)
    _same(lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True), query, key, value)


@claim("a network trains: float16 autocast, GradScaler, AdamW")
def _training() -> str:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    scaler = torch.amp.GradScaler("cuda", init_scale=1024.0)
    x = torch.randn(256, 8, device="cuda")
    y = x[:, :1] * x[:, 1:2]
    losses = []
    for _ in range(60):
        with torch.autocast("cuda", dtype=torch.float16):
            loss = functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2, losses
    return f"loss {losses[0]:.2f} to {losses[-1]:.2f}"


@claim("tensors on different devices raise CUDA's error")
def _mixed_devices() -> None:
    with _raises(RuntimeError, "Expected all tensors to be on the same device"):
        torch.ones(2, device="cuda") + torch.ones(2)


@claim("float64, complex128 and int64 exist and compute")
def _wide_types() -> None:
    _same(lambda x: (x @ x).exp(), torch.randn(4, 4, dtype=torch.float64), tolerance=1e-12)
    x = torch.randn(5, dtype=torch.complex128)
    torch.testing.assert_close((x.cuda() * 2j).cpu(), x * 2j)
    big = torch.tensor([2**53 + 1], device="cuda")
    assert (big + 1).item() == 2**53 + 2


@claim("bfloat16 and float16")
def _narrow_types() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        x = torch.randn(8, 8).to(dtype)
        torch.testing.assert_close((x.cuda() @ x.cuda()).cpu(), x @ x, rtol=2e-2, atol=2e-2)


@claim("what the native backend lacks runs on the CPU, without copies", about_fallback=True)
def _fallback() -> str:
    before = torchdevice.report()
    x = torch.randn(6, 6, device="cuda")
    symmetric = x @ x.t()
    values, vectors = torch.linalg.eigh(symmetric)
    torch.testing.assert_close(vectors @ values.diag() @ vectors.t(), symmetric, rtol=1e-3, atol=1e-3)
    after = torchdevice.report()
    assert after.fallbacks > before.fallbacks, "nothing fell back"
    assert after.copied_bytes == before.copied_bytes, f"{after.copied_bytes - before.copied_bytes} bytes were copied"
    return f"{after.fallbacks - before.fallbacks} calls, {after.transitions - before.transitions} waits"


@claim("TORCHDEVICE_FALLBACK=error forbids it", about_fallback=True, TORCHDEVICE_FALLBACK="error")
def _forbidden_fallback() -> None:
    x = torch.eye(3, device="cuda")
    with _raises(NotImplementedError, "TORCHDEVICE_FALLBACK=error"):
        torch.linalg.eigh(x)


@claim("the CPU and the native backend take turns in order", TORCHDEVICE_FORCE_CPU_OPS="mul,aten::mul_")
def _order() -> None:
    x = torch.ones(1000, device="cuda")
    expected = torch.ones(1000)
    for step in range(100):
        for tensor in (x, expected):
            tensor.add_(1).mul_(0.5)
            tensor[step] = tensor[step + 1] * 2
    torch.testing.assert_close(x.cpu(), expected)


@claim("an operator that fails leaves its arguments as they were")
def _failure() -> None:
    x = torch.arange(4.0, device="cuda")
    with _raises(RuntimeError, "size"):
        x.add_(torch.ones(3, device="cuda"))
    assert x.tolist() == [0, 1, 2, 3]


@claim("tensors go to the native device and come back", about_fallback=True)
def _proxy() -> None:
    x = torch.randn(100)
    native = x.cuda().to(_native())
    assert native.device.type == _native().type
    torch.testing.assert_close((native + 1).to("cuda").cpu(), x + 1)


@claim("streams and events")
def _events() -> None:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        start.record()
        x = torch.randn(512, 512, device="cuda")
        for _ in range(10):
            x = (x @ x).tanh()
        end.record()
    torch.cuda.current_stream().wait_stream(stream)
    end.synchronize()
    assert end.query()
    assert 0 < start.elapsed_time(end) < 60_000, start.elapsed_time(end)
    torch.cuda.synchronize()


@claim("memory: figures and cache")
def _memory() -> None:
    before = torch.cuda.memory_allocated()
    x = torch.empty(2**26, dtype=torch.uint8, device="cuda")
    assert torch.cuda.memory_allocated() - before >= 2**26
    del x
    assert torch.cuda.memory_allocated() == before
    torch.cuda.empty_cache()


@claim("TORCHDEVICE_MEMORY is a limit, with CUDA's error", TORCHDEVICE_MEMORY="1GiB")
def _limit() -> None:
    with _raises(torch.OutOfMemoryError, "CUDA out of memory"):
        torch.empty(2**31, dtype=torch.uint8, device="cuda")


@claim("a seed repeats its random numbers")
def _random() -> None:
    draws = []
    for _ in range(2):
        torch.manual_seed(7)
        draws.append(
            [torch.rand(1000, device="cuda"), torch.randn(1000, device="cuda"), torch.randperm(100, device="cuda")]
        )
    for first, second in zip(*draws, strict=True):
        assert torch.equal(first, second)
    assert abs(draws[0][1].mean().item()) < 0.2


@claim("copies: to and from the CPU, pinned, non-blocking, strided")
def _copies() -> None:
    x = torch.randn(64, 64).pin_memory()
    moved = x.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    assert torch.equal(moved.cpu(), x)
    target = torch.zeros(64, 128, device="cuda")
    target[:, ::2] = moved.t()
    assert torch.equal(target[:, ::2].cpu(), x.t())


@claim("sparse tensors")
def _sparse() -> None:
    dense = torch.eye(4) * 3
    sparse = dense.cuda().to_sparse()
    torch.testing.assert_close((sparse @ torch.ones(4, 2, device="cuda")).cpu(), dense @ torch.ones(4, 2))
    assert torch.equal(dense.cuda().to_sparse_csr().to_dense().cpu(), dense)


@claim("CUDA graphs: capture and replay")
def _graphs() -> None:
    x = torch.zeros(8, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = (x + 1) * 2
    for value in (1.0, 5.0):
        x.fill_(value)
        graph.replay()
        assert y.tolist() == [2 * (value + 1)] * 8, y


@claim("threads work at the same time")
def _threads() -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            x = torch.full((64, 64), float(seed), device="cuda", requires_grad=True)
            for _ in range(50):
                (x * x).sum().backward()
            assert x.grad is not None
            assert x.grad[0, 0].item() == 50 * 2 * seed
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@claim("saved tensors load on other devices")
def _saved() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensors.pt"
        torch.save({"x": torch.arange(5, device="cuda")}, path)
        assert torch.load(path)["x"].device.type == "cuda"
        assert torch.load(path, map_location="cpu")["x"].tolist() == [0, 1, 2, 3, 4]


@claim("torch.distributed over nccl, one process")
def _distributed() -> None:
    from torch import distributed

    with tempfile.TemporaryDirectory() as folder:
        distributed.init_process_group("nccl", init_method=f"file://{folder}/store", rank=0, world_size=1)
        x = torch.ones(4, device="cuda")
        distributed.all_reduce(x)
        assert x.tolist() == [1, 1, 1, 1]
        distributed.destroy_process_group()


@claim("torch.profiler gives operators their time on the device")
def _profiler() -> None:
    from torch.profiler import ProfilerActivity, profile

    x = torch.randn(256, 256, device="cuda")
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        x @ x
    times = {event.key: event.device_time_total for event in profiler.key_averages()}
    assert times.get("aten::mm", 0) > 0, times


@claim("the report counts every call", TORCHDEVICE_REPORT="1")
def _report() -> None:
    x = torch.ones(10, device="cuda")
    for _ in range(5):
        torch.mul(x, x)
    (mul,) = (one for one in torchdevice.report().operators if one.name == "aten::mul.Tensor")
    assert mul.native.calls + mul.cpu.calls == 5, mul


@claim("figures: cuda beside the native device")
def _speed() -> str:
    """No claim that could fail: what a Mac owner tells us of its speed."""
    native = _native()
    small = {device: _time(device, 10, 2000, lambda x: x + x) for device in ("cuda", str(native))}
    large = {device: _time(device, 1024, 5, lambda x: x @ x) for device in ("cuda", str(native))}
    added = (small["cuda"] - small[str(native)]) * 1e9
    return (
        f"10 x 10 additions {small['cuda'] * 1e6:.2f} us ({added:+.0f} ns beside {native}), "
        f"1024 x 1024 products {large['cuda'] * 1e3:.2f} ms ({large['cuda'] / large[str(native)]:.2f} times {native})"
    )


def _time(device: str, size: int, repeats: int, function: Callable[[Tensor], Tensor]) -> float:
    """Seconds a call, the best of five rounds."""
    x = torch.rand(size, size, device=device)
    wait = torch.get_device_module(device).synchronize
    rounds = []
    for _ in range(5):
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            function(x)
        wait()
        rounds.append((time.perf_counter() - start) / repeats)
    return min(rounds)
