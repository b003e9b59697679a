"""Rounds of calls: public functions of torch.cuda with any arguments, and random programs compared with the CPU."""

from __future__ import annotations

import gc
import inspect
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from conformance import programs
from conformance.fuzz.worker import Finding, check_error

#: Not called: what waits, writes files, starts processes or compilers, takes raw addresses, or ends the use of CUDA.
LEFT_OUT = {
    "_sleep", "_dump_snapshot", "_compile_kernel", "_busy_wait_for_flag", "caching_allocator_delete", "cudart",
    "change_current_allocator", "CUDAPluggableAllocator", "ExternalStream", "profile", "start", "stop", "init",
    "list_gpu_processes", "_cuda_tunableop_enable", "ipc_collect", "_record_memory_history",
}  # fmt: skip
PLACES = (
    torch.cuda, torch.cuda.memory, torch.cuda.random, torch.cuda.streams, torch.cuda.nvtx, torch.cuda.tunable,
    torch.cuda.Stream, torch.cuda.Event, torch.cuda.MemPool, torch.cuda.CUDAGraph, torch.UntypedStorage,
    torch.accelerator, torch.backends.cuda,
)  # fmt: skip
INTEGERS = (
    0, 1, 2, -1, 3, 64, 127, 128, 255, 256, 300, 2**31 - 1, 2**31, -(2**31), 2**62 + 1, 2**63 - 1, -(2**63), 2**64,
)  # fmt: skip
MANY = 12


@cache
def functions() -> list[tuple[str, Callable[..., Any]]]:
    """All that can be called, by name, in an order that is the same in every process."""
    found: dict[str, Callable[..., Any]] = {}
    for place in PLACES:
        for name in sorted(vars(place)):
            value = getattr(place, name)
            public = not name.startswith("_") and name not in LEFT_OUT and callable(value)
            ours = (getattr(value, "__module__", None) or "torch").startswith("torch")
            if public and ours and not (isinstance(value, type) and issubclass(value, BaseException)):
                found[f"{place.__name__}.{name}"] = value
    return list(found.items())


@cache
def parameters(function: Callable[..., Any]) -> int:
    try:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return sum(parameter.kind in kinds for parameter in inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 3


def value(rng: random.Random, kept: list[Any]) -> Any:
    """Anything that a program may pass."""
    makers: tuple[Callable[[], Any], ...] = (
        lambda: rng.choice(INTEGERS),
        lambda: rng.choice(INTEGERS),
        lambda: rng.choice((0.0, 0.5, 1.0, -1.0, float("nan"), float("inf"))),
        lambda: rng.choice((None, True, False, "", "cuda", "cuda:1", "cuda:7", "cpu", "mps", b"", bytes(64))),
        lambda: torch.device("cuda", rng.randrange(2)),
        lambda: torch.cuda.Stream(rng.randrange(2)),
        lambda: torch.cuda.Event(enable_timing=rng.random() < 0.5),
        lambda: torch.ones(rng.choice((0, 1, 7, 100_000)), device=f"cuda:{rng.randrange(2)}"),
        lambda: torch.UntypedStorage(rng.choice((0, 12)), device="cuda"),
        lambda: [torch.ones(2, device="cuda"), torch.cuda.current_stream()],
        lambda: rng.choice(kept) if kept else None,
    )
    return rng.choice(makers)()


def run(rng: random.Random) -> Counter[str]:
    """A few calls; then CUDA works as before, and nothing has leaked."""
    kept: list[Any] = []
    called = []
    for _ in range(MANY):
        name, function = rng.choice(functions())
        count = parameters(function)
        arguments = [value(rng, kept) for _ in range(rng.randrange(max(0, count - 2), count + 1))]
        called.append(name)
        try:
            kept.append(function(*arguments))
        except Exception as error:
            check_error(error)
    del kept
    _restore()
    if (result := (torch.ones(3, device="cuda") + 1).tolist()) != [2, 2, 2]:
        raise Finding(f"wrong numbers, {result}, after {called}")
    return Counter(calls=MANY)


def _restore() -> None:
    """What a call may have changed for the next ones."""
    gc.collect()
    for device in range(2):
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.set_stream(torch.cuda.default_stream(device))
    torch.cuda.set_device(0)
    torch.cuda.set_sync_debug_mode("default")
    torch.set_default_device(None)


def run_program(rng: random.Random) -> Counter[str]:
    """A random program on both devices."""
    steps = programs.program(rng.randrange(2**32))
    try:
        programs.run(steps)
    except programs.DifferenceError as difference:
        raise Finding(str(difference)) from None
    return Counter(calls=len(steps), programs=1)
