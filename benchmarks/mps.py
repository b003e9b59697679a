"""`python -m benchmarks.mps`, in the environment of `make test-mps`: what forwarding to MPS costs the host beyond MPS's
own dispatch, in nanoseconds an operator, while nothing is in the device's queue.

The same in-place operator is called on a "cuda" and on an "mps" tensor in turns, while the simulated MPS rests: its
kernels return at once, so that what differs is the choice, the alias and what is kept for the fallback.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

import torch

OPERATORS: Mapping[str, Callable[[torch.Tensor], Callable[[], object]]] = {
    "relu_": lambda x: x.relu_,
    "mul_ by a number": lambda x: partial(x.mul_, 2.0),
    "mul_": lambda x: partial(x.mul_, torch.ones_like(x)),
    "addcmul_": lambda x: partial(x.addcmul_, torch.ones_like(x), torch.ones_like(x)),
}
CALLS = 5_000
ROUNDS = 41


def nanoseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (time.perf_counter_ns() - begin) / CALLS


def costs() -> dict[str, tuple[float, float]]:
    """By operator: nanoseconds of a call on mps, and how many more a call on cuda takes."""
    simulator = ctypes.CDLL(os.environ["MPS_SIMULATOR"])
    result = {}
    for name, operator in OPERATORS.items():
        on_cuda, on_mps = (operator(torch.ones(10, device=device)) for device in ("cuda", "mps"))
        on_cuda(), on_mps()  # the first call of its kind asks MPS
        torch.cuda.synchronize()
        simulator.mps_simulator_rest(True)
        rounds = [(nanoseconds(on_mps), nanoseconds(on_cuda)) for _ in range(ROUNDS)]
        simulator.mps_simulator_rest(False)
        result[name] = median(mps for mps, _ in rounds), median(cuda - mps for mps, cuda in rounds)
    return result


if __name__ == "__main__":
    with torch.no_grad():
        for name, (own, more) in costs().items():
            print(f"{name:20} mps {own:7.0f} ns, cuda {more:+6.0f} ns")
