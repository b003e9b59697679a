"""torch's autograd engine: whether it has started, its device threads, and the end of a process after backward."""

from __future__ import annotations

import pytest

from tests.conftest import RunPython

QUESTION = """
    import os, torch
    from torchdevice import _C
    assert not _C.backward_has_run()
    assert not _C.backward_has_run(), "asking starts nothing"
    x = torch.ones(2, requires_grad=True)
    assert not _C.backward_has_run()
    {backward}
    assert _C.backward_has_run()
    child = os.fork()
    if child == 0:
        os._exit(0 if _C.backward_has_run() else 1)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize(
    "backward",
    [
        "x.sum().backward()",
        "torch.autograd.grad(x.sum(), x)",
        "import threading; t = threading.Thread(target=lambda: x.sum().backward()); t.start(); t.join()",
    ],
)
def test_whether_backward_has_run(run_python: RunPython, backward: str) -> None:
    run_python(QUESTION.format(backward=backward), TORCH_DEVICE_BACKEND_AUTOLOAD="0")


def test_asking_leaves_the_guard_table_alone(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from torchdevice import _C
        _C.backward_has_run()
        try:
            torch.empty(1, device="cuda")
        except (RuntimeError, AssertionError) as error:
            assert "CUDA" in str(error) or "NVIDIA" in str(error)
        else:
            raise AssertionError
        x = torch.ones(1, requires_grad=True)
        x.sum().backward()
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )


@pytest.mark.parametrize("_attempt", range(8))
def test_a_process_may_end_right_after_backward(run_python: RunPython, _attempt: int) -> None:
    """Each thread of the engine lets go of the caller's context while the interpreter still runs, or not at all."""
    run_python(
        """
        import torch
        x = torch.ones(2, device="cuda:1", requires_grad=True)
        (x.to("cuda:2") * 3).sum().backward()
        """,
        TORCHDEVICE_COUNT="3",
    )


def test_contexts_do_not_pile_up(run_python: RunPython) -> None:
    run_python(
        """
        import contextvars, gc, torch, weakref
        class Value:
            pass
        variable = contextvars.ContextVar("variable")
        alive = []
        def step():
            variable.set(value := Value())
            alive.append(weakref.ref(value))
            x = torch.ones(2, device="cuda", requires_grad=True)
            x.sum().backward()
        for _ in range(200):
            contextvars.copy_context().run(step)
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 2
        """
    )


@pytest.mark.parametrize("thread", ["main", "other"])
def test_backward_runs_on_the_thread_that_calls_it(run_python: RunPython, thread: str) -> None:
    run_python(
        f"""
        import threading, torch
        def threads_of_backward():
            seen = set()
            x = torch.ones(2, device="cuda:1", requires_grad=True)
            x.register_hook(lambda grad: seen.add(threading.get_ident()))
            x.cuda(0).sum().backward()
            return seen
        def work():
            assert threads_of_backward() == {{threading.get_ident()}}
            with torch.autograd.set_multithreading_enabled(True):
                assert threading.get_ident() not in threads_of_backward()
            assert threads_of_backward() == {{threading.get_ident()}}
            done.append(True)
        done = []
        if {thread!r} == "main":
            work()
        else:
            other = threading.Thread(target=work)
            other.start()
            other.join()
        assert done
    """,
        TORCHDEVICE_COUNT="2",
    )
