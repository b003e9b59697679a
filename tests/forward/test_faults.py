"""What goes wrong in the middle of an operator leaves nothing behind: not in memory, not in the thread, not at exit."""

from __future__ import annotations

import gc
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.conftest import RunPython

CUDA = torch.device("cuda:0")


def usable() -> bool:
    """Whether a small training step, which aliases, adopts and commits, gives what it should."""
    x = torch.ones(3, device="cuda", requires_grad=True)
    (x.mul(2).add_(1) ** 2).sum().backward()
    assert x.grad is not None
    return torch.zeros(1).device.type == "cpu" and x.grad.tolist() == [12.0] * 3


@pytest.fixture
def fresh_memory() -> Iterator[None]:
    """The test ends with as much memory allocated on the device as it began with."""
    torch.cuda.synchronize()  # what a queue still uses
    gc.collect()
    before = torch.cuda.memory_allocated()
    yield
    torch.cuda.synchronize()
    gc.collect()
    assert torch.cuda.memory_allocated() == before


FAILURES: dict[str, tuple[Callable[[], object], type[Exception]]] = {
    "before the kernel": (lambda: torch.ones(2, device="cuda") + torch.ones(3, device="cuda"), RuntimeError),
    "in the kernel": (lambda: torch.linalg.cholesky(-torch.eye(3, device="cuda")), torch.linalg.LinAlgError),
    "inside a parallel loop": (
        lambda: torch.ones(4, device="cuda").index_select(0, torch.full((10,), 9, device="cuda")),
        torch.AcceleratorError,
    ),
    "with results made": (lambda: torch.linalg.inv(torch.zeros(50, 3, 3, device="cuda")), torch.linalg.LinAlgError),
    "in an out= operator": (
        lambda: torch.add(torch.ones(3, device="cuda"), 1.5, out=torch.ones(3, dtype=torch.int64, device="cuda")),
        RuntimeError,
    ),
    "in an in-place operator": (
        lambda: torch.ones(3, device="cuda").index_add_(0, torch.tensor([7]).cuda(), torch.ones(1, device="cuda")),
        torch.AcceleratorError,
    ),
    "in a list operator": (lambda: torch.cat([torch.ones(2, 2, device="cuda"), torch.ones(3, 3, device="cuda")]),
                           RuntimeError),
    "out of memory": (lambda: torch.empty(1 << 60, device="cuda"), torch.OutOfMemoryError),
    "on a sparse tensor": (
        lambda: torch.eye(3, device="cuda").to_sparse() @ torch.ones(2, 2, device="cuda"),
        RuntimeError,
    ),
}  # fmt: skip


@pytest.mark.usefixtures("fresh_memory")
@pytest.mark.parametrize("where", FAILURES)
def test_a_failing_operator_leaves_nothing_behind(where: str) -> None:
    call, error = FAILURES[where]
    for _ in range(200):
        with pytest.raises(error):
            call()
    assert usable()


@pytest.mark.usefixtures("fresh_memory")
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, MemoryError])
def test_a_python_kernel_raises_anything(raised: type[BaseException]) -> None:
    """The exception passes through the frames of C++ between two Python frames."""
    with torch.library._scoped_library("faults", "DEF") as library:
        library.define("raises(Tensor x, Tensor(a!) y) -> Tensor")

        def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            y.add_(1)
            x * 2
            raise raised("in the middle")

        library.impl("raises", kernel, "CPU")
        x, y = torch.ones(3, device="cuda"), torch.zeros(3, device="cuda")
        with pytest.raises(raised, match="in the middle"):
            torch.ops.faults.raises(x, y)
        assert y.tolist() == [1.0] * 3  # as on the CPU: what was written before stays
        assert x.device == CUDA
        assert usable()


@pytest.mark.usefixtures("fresh_memory")
def test_a_failing_hook_ends_the_backward_pass() -> None:
    x = torch.ones(3, device="cuda", requires_grad=True)

    def interrupt(_gradient: torch.Tensor) -> None:
        raise KeyboardInterrupt

    y = x * 2
    y.register_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        (y * 3).sum().backward()
    assert x.grad is None
    assert usable()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_hook_that_runs_backward_within_backward(device: str) -> None:
    """Deeper than the engine goes on one thread, so that it hands the rest to a pool of threads."""
    depth = 20

    class Deeper(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, level: int) -> torch.Tensor:
            ctx.level = level
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
            if ctx.level:
                inner = torch.ones(2, device=device, requires_grad=True)
                with torch.enable_grad():
                    Deeper.apply(inner, ctx.level - 1).sum().backward()
                gradient = gradient + inner.grad
            return gradient * 2, None

    x = torch.ones(2, device=device, requires_grad=True)
    Deeper.apply(x, depth).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0 ** (depth + 2) - 2] * 2


@pytest.mark.usefixtures("fresh_memory")
def test_endless_recursion_through_hooks() -> None:
    module = torch.nn.Linear(3, 3, device="cuda")
    module.register_forward_hook(lambda module, _arguments, result: module(result))
    with pytest.raises(RecursionError):
        module(torch.ones(3, device="cuda"))
    assert usable()


@pytest.mark.usefixtures("fresh_memory")
def test_eight_threads_fail_and_succeed_side_by_side() -> None:
    shared = torch.arange(1000.0, device="cuda")
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for turn in range(100):
                if (turn + seed) % 3 == 0:
                    with pytest.raises(torch.AcceleratorError):
                        shared.index_select(0, torch.tensor([5000], device="cuda"))
                out = torch.empty(0, device="cuda")
                torch.add(shared, seed, out=out)
                assert out[-1].item() == 999 + seed
                assert usable()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


EXITS = {
    "tensors in globals": "x = torch.ones(3, device='cuda', requires_grad=True); y = (x * 2).sum(); y.backward()",
    "a graph that nobody ran": "x = torch.ones(3, device='cuda', requires_grad=True); y = (x * 2).relu().sum()",
    "tensors in a cycle": """
        class Node: pass
        node = Node(); node.me = node; node.x = torch.ones(3, device="cuda"); del node
        gc.disable()
    """,
    "work at exit": """
        x = torch.ones(3, device="cuda", requires_grad=True)
        atexit.register(lambda: (x * 2).sum().backward())
        class Late:
            def __del__(self): x + 1
        late = Late(); late.me = late
    """,
    "every kind of object": """
        x, pinned = torch.ones(3, device="cuda"), torch.ones(3).pin_memory()
        stream, event = torch.cuda.Stream(), torch.cuda.Event(enable_timing=True)
        generator = torch.Generator("cuda")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = x + 1
        graph.replay()
        pool = torch.cuda.MemPool()
        sparse = torch.eye(3, device="cuda").to_sparse()
        scaler = torch.amp.GradScaler("cuda")
    """,
    "an error": "x = torch.ones(3, device='cuda'); sys.excepthook = lambda *_: None; x + torch.ones(3)",
    "an error in a hook": """
        sys.excepthook = lambda *_: None
        x = torch.ones(3, device="cuda", requires_grad=True)
        y = x * 2
        y.register_hook(lambda gradient: 1 / 0)
        y.sum().backward()
    """,
}


@pytest.mark.parametrize("left", EXITS)
def test_the_interpreter_may_exit_with(left: str, run_python: RunPython) -> None:
    code = "import atexit, gc, sys, threading, time, torch\n" + textwrap.dedent(EXITS[left])
    process = run_python(code, check=False)
    assert process.returncode == (int(left.startswith("an error"))), process.stderr
    assert process.stderr == ""


def test_an_interrupt_from_the_keyboard_reaches_python(run_python: RunPython) -> None:
    """SIGINT while operators run on the main thread: KeyboardInterrupt, and the device works on."""
    run_python(
        """
        import os, signal, threading, time, torch
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs behind ignore it
        x = torch.ones(200, 200, device="cuda", requires_grad=True)
        (x @ x).relu().sum().backward()  # what is imported for the first time may lose an interrupt
        for _ in range(5):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                while True:
                    (x @ x).relu().sum().backward()
            except KeyboardInterrupt:
                pass
        x.grad = None
        (x @ x).sum().backward()
        assert x.grad.tolist()[0][0] == 400.0
        """
    )
