"""What the host finds where it does not wait, with TORCHDEVICE_CHECK=late: each program in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from tests.conftest import RunPython
from torchdevice import _C

pytestmark = pytest.mark.skipif(_C.native_backend_name() == "mps", reason="MPS has an allocator of its own")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(run_python: RunPython) -> Run:
    def checked(program: str, checkers: str = "late") -> subprocess.CompletedProcess[str]:
        return run_python(program, TORCHDEVICE_CHECK=checkers)

    return checked


def test_the_host_finds_old_bytes_until_it_waits(run: Run) -> None:
    program = """
        import torch
        host = torch.zeros(4, pin_memory=True)
        array = host.numpy()
        host.copy_(torch.ones(4, device="cuda"), non_blocking=True)
        print(array.sum())
        torch.cuda.synchronize()
        print(array.sum())
    """
    process = run(program)
    assert process.stdout == "0.0\n4.0\n"
    assert process.stderr == ""  # a look past torch cannot be seen


def test_to_the_cpu_without_waiting(run: Run) -> None:
    program = """
        import torch
        x = torch.arange(6, device="cuda").view(2, 3)
        event = torch.cuda.Event()
        first = x.t().to("cpu", non_blocking=True)
        event.record()
        event.synchronize()
        print(first.tolist())
        second = torch.empty_like(first, pin_memory=True).fill_(-1)
        second.copy_(x.t(), non_blocking=True)
        print(second.numpy().tolist())
    """
    process = run(program)
    assert process.stdout == "[[0, 3], [1, 4], [2, 5]]\n[[-1, -1], [-1, -1], [-1, -1]]\n"


def test_the_device_gets_what_the_host_writes_meanwhile(run: Run) -> None:
    program = """
        import torch
        host = torch.zeros(4, pin_memory=True)
        array = host.numpy()
        x = torch.empty(4, device="cuda")
        x.copy_(host, non_blocking=True)
        array[:] = 3
        print(x.sum().item())
        array[:] = 5
        print(x.sum().item())
    """
    process = run(program)
    assert process.stdout == "12.0\n12.0\n"
    assert "late: the host, before this line, changed pinned memory that aten::copy_" in process.stderr


def test_the_device_finds_its_own_copies_at_once(run: Run) -> None:
    program = """
        import torch
        host = torch.zeros(4, pin_memory=True)
        x = torch.ones(4, device="cuda")
        host.copy_(x, non_blocking=True)
        y = torch.empty(4, device="cuda")
        y.copy_(host, non_blocking=True)
        print(y.sum().item())
    """
    process = run(program)
    assert (process.stdout, process.stderr) == ("4.0\n", "")


def test_a_copy_with_gaps(run: Run) -> None:
    program = """
        import torch
        host = torch.zeros(4, 4, pin_memory=True)
        array = host.numpy()
        x = torch.ones(4, device="cuda")
        host[:, 1].copy_(x, non_blocking=True)
        array[:, 0] = 2  # its neighbours are the host's
        torch.cuda.synchronize()
        print(host.sum(0).tolist())
    """
    process = run(program)
    assert (process.stdout, process.stderr) == ("[8.0, 4.0, 0.0, 0.0]\n", "")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("host.sum()", "aten::sum reads pinned memory that aten::copy_ on the default stream of cuda:0 fills (self)"),
        (
            "host.numpy()",
            "aten::resolve_conj reads pinned memory that aten::copy_ on the default stream of cuda:0 fills",
        ),
        ("host.add_(1)", "aten::add_.Tensor writes pinned memory that aten::copy_ on the default stream of cuda:0"),
    ],
)
def test_an_operator_of_the_host_is_told(run: Run, line: str, text: str) -> None:
    program = f"""
        import torch
        host = torch.zeros(4, pin_memory=True)
        host.copy_(torch.ones(4, device="cuda"), non_blocking=True)
        {line}
        torch.cuda.synchronize()
    """
    process = run(program)
    assert text in process.stderr
    assert process.stderr.startswith("torchdevice check: 1 finding\n")
    assert run(program, "all").stderr.count("finding") == 1  # races tell it


def test_what_is_underway_is_bounded(run: Run) -> None:
    program = """
        import torch
        x = torch.ones(4, device="cuda")
        hosts = [torch.zeros(4, pin_memory=True) for _ in range(1100)]
        for host in hosts:
            host.copy_(x, non_blocking=True)
        print(hosts[0].numpy().sum(), hosts[-1].numpy().sum())
    """
    process = run(program)
    assert process.stdout == "4.0 0.0\n"


def test_memory_that_is_gone(run: Run) -> None:
    program = """
        import torch
        host = torch.zeros(4, pin_memory=True)
        torch.empty(4, device="cuda").copy_(host, non_blocking=True)
        torch.ones(4, device="cuda").to("cpu", non_blocking=True)
        del host
        torch.cuda.synchronize()
        print(torch.cuda.memory_allocated())
    """
    process = run(program)
    assert (process.stdout, process.stderr) == ("0\n", "")
