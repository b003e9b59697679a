"""Random programs, run on cpu and on cuda side by side and compared after every step.

A program is a list of integers; each decides one step: an operator, its operands among the tensors that exist so far,
and its arguments. So any list is a program, and a failing one shrinks by leaving integers out. At the end the sum of
what is differentiable is run backward. `python -m conformance.programs --help`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from conformance.operators.comparison import normalise
from conformance.program_steps import STEPS, Call, Step, leaf
from torchdevice import _C

DEVICES = ("cpu", "cuda")
MIRRORS_THE_CPU = _C.native_backend_name() == "cpu"
#: Tensors that are alive at once; older ones are forgotten.
POOL = 12


class DifferenceError(AssertionError):
    """The two devices disagree; the message tells the step and both sides."""


class _PartingError(Exception):
    """From here on the devices may go apart: a native backend besides the CPU lays results out as it likes, and does
    not check indices."""


class Machine:
    """The tensors of one program, on each device."""

    def __init__(self) -> None:
        self.pools: dict[str, list[torch.Tensor]] = {device: [] for device in DEVICES}
        self.leaves: dict[str, list[torch.Tensor]] = {device: [] for device in DEVICES}
        self.history: list[str] = []

    def run(self, program: Sequence[int]) -> None:
        """Run and compare every step.

        Raises:
            DifferenceError: the devices disagree.
        """
        with warnings.catch_warnings(), suppress(_PartingError):
            warnings.simplefilter("ignore")
            for number in program:
                rng = random.Random(number)
                pool = self.pools["cpu"]
                make = rng.choice(STEPS) if len(pool) >= 2 else leaf
                self._step(make(rng, pool))
            self._backward()

    def _step(self, step: Step) -> None:
        self.history.append(step.text)
        outcome = {device: self._try(step.call, device) for device in DEVICES}
        (cpu, cpu_error), (cuda, cuda_error) = outcome["cpu"], outcome["cuda"]
        if not MIRRORS_THE_CPU and cuda_error is None and _is_of_an_index(cpu_error):
            raise _PartingError
        # What the CPU's kernels check, CUDA's assert.
        if not (_is_of_an_index(cpu_error) and isinstance(cuda_error, torch.AcceleratorError)):
            if type(cpu_error) is not type(cuda_error):
                self._differ("error", repr(cpu_error), repr(cuda_error))
            if normalise(str(cpu_error)) != normalise(str(cuda_error)):
                self._differ("error text", str(cpu_error), str(cuda_error))
        if len(cpu) != len(cuda):
            self._differ("results", str(len(cpu)), str(len(cuda)))
        for device, results in (("cpu", cpu), ("cuda", cuda)):
            pool = self.pools[device]
            pool += [one for one in results if isinstance(one, torch.Tensor)]
            self.leaves[device] += [one for one in results if isinstance(one, torch.Tensor) and _is_leaf(one)]
            del pool[:-POOL]
        for one, other in zip(cpu, cuda, strict=True):
            if not isinstance(one, torch.Tensor) and repr(one) != repr(other):
                self._differ("value", repr(one), repr(other))
        for index, (one, other) in enumerate(zip(self.pools["cpu"], self.pools["cuda"], strict=True)):
            self._compare(f"tensor {index}", one, other)

    def _try(self, call: Call, device: str) -> tuple[list[Any], Exception | None]:
        try:
            result = call(self.pools[device], device)
        except Exception as error:
            return [], error
        return list(result) if isinstance(result, (tuple, list)) else [result], None

    def _compare(self, what: str, cpu: torch.Tensor, cuda: torch.Tensor, exact: bool = True) -> None:
        if cuda.device.type != "cuda":
            self._differ(f"{what} device", "cuda", str(cuda.device))
        one, other = _facts(cpu), _facts(cuda)
        if not MIRRORS_THE_CPU and cpu.shape == cuda.shape and cpu.stride() != cuda.stride():
            raise _PartingError
        if exact and one != other:
            self._differ(what, str(one), str(other))
        if isinstance(one, str):
            return
        a, b = cpu.detach(), cuda.detach().cpu()
        same = torch.equal(a, b) or torch.allclose(
            a, b, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-5, equal_nan=True
        )
        if not same:
            self._differ(f"{what} values", str(a), str(b))

    def _backward(self) -> None:
        roots = [
            index
            for index, one in enumerate(self.pools["cpu"])
            if not isinstance(_facts(one), str) and one.requires_grad
        ]
        if not roots:
            return

        def backward(pool: list[torch.Tensor], device: str) -> tuple[()]:
            ends = [pool[index].abs() if pool[index].is_complex() else pool[index] for index in roots]
            torch.stack([end.double().sum() for end in ends]).sum().backward()
            return ()

        self._step(Step(f"backward of {roots}", backward))
        for number, (one, other) in enumerate(zip(self.leaves["cpu"], self.leaves["cuda"], strict=True)):
            if (one.grad is None) != (other.grad is None):
                self._differ(f"grad of leaf {number}", str(one.grad), str(other.grad))
            if one.grad is not None and other.grad is not None:
                self._compare(f"grad of leaf {number}", one.grad, other.grad, exact=False)

    def _differ(self, what: str, cpu: str, cuda: str) -> None:
        raise DifferenceError(f"{what}\n  cpu:  {cpu}\n  cuda: {cuda}\n  after:\n    " + "\n    ".join(self.history))


def _is_of_an_index(error: Exception | None) -> bool:
    texts = ("INDICES element is out of DATA bounds", "is out of bounds for dimension")
    return isinstance(error, IndexError) or any(text in str(error) for text in texts)


def _is_leaf(tensor: torch.Tensor) -> bool:
    return not isinstance(_facts(tensor), str) and tensor.requires_grad and tensor.is_leaf


def _facts(tensor: torch.Tensor) -> tuple[Any, ...] | str:
    """What is compared besides values; the error, where autograd forbids to look (a view whose base was changed)."""
    try:
        return (
            tensor.dtype, tuple(tensor.shape), _strides(tensor), tensor.storage_offset(), tensor.requires_grad,
            tensor.is_leaf, tensor._is_view(), tensor._version, tensor.is_conj(), tensor.is_neg(),
        )  # fmt: skip
    except RuntimeError as error:
        return str(error)


def _strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """Zeros for dimensions with one element, where the tensor is of halves: nothing is reached by these strides, which
    kernels choose by the gaps of operands, and float32 copies have none."""
    if tensor.dtype not in (torch.float16, torch.bfloat16):
        return tensor.stride()
    return tuple(step if size > 1 else 0 for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def program(seed: int) -> list[int]:
    """The program of a seed: 5 to 50 steps."""
    rng = random.Random(seed)
    return [rng.randrange(2**32) for _ in range(rng.randrange(5, 51))]


def run(steps: Sequence[int]) -> None:
    """Run one program on both devices.

    Raises:
        DifferenceError: they disagree.
    """
    Machine().run(steps)


def shrunk(steps: Sequence[int]) -> list[int]:
    """A failing program with every step left out that it does not need to fail."""
    steps = list(steps)
    index = 0
    while index < len(steps):
        shorter = steps[:index] + steps[index + 1 :]
        try:
            run(shorter)
        except DifferenceError:
            steps = shorter
        else:
            index += 1
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m conformance.programs", description="Random programs, cuda against cpu."
    )
    parser.add_argument("--count", type=int, default=1000, help="number of programs")
    parser.add_argument("--first", type=int, default=0, help="seed of the first program")
    parser.add_argument("--stop-after", type=int, default=5, help="failures to find before giving up")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    failures = 0
    for seed in range(options.first, options.first + options.count):
        try:
            run(program(seed))
        except DifferenceError as difference:
            failures += 1
            print(f"seed {seed}: {difference}\n  shrunk: {shrunk(program(seed))}", flush=True)
            if failures >= options.stop_after:
                break
    print(f"{seed + 1 - options.first} programs, {failures} failures, {time.monotonic() - started:.1f} s")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
