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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from conformance.operators.comparison import normalise

Call = Callable[[list[torch.Tensor], str], Any]
DEVICES = ("cpu", "cuda")
#: Tensors that are alive at once; older ones are forgotten.
POOL = 12
DTYPES = (torch.float32, torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64, torch.bfloat16, torch.int32)


class Difference(AssertionError):
    """The two devices disagree; the message tells the step and both sides."""


@dataclass
class Step:
    """One step that was decided on: its text and what it calls."""

    text: str
    call: Call


class Machine:
    """The tensors of one program, on each device."""

    def __init__(self) -> None:
        self.pools: dict[str, list[torch.Tensor]] = {device: [] for device in DEVICES}
        self.leaves: dict[str, list[torch.Tensor]] = {device: [] for device in DEVICES}
        self.history: list[str] = []

    def run(self, program: Sequence[int]) -> None:
        """Run and compare every step.

        Raises:
            Difference: the devices disagree.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in program:
                rng = random.Random(number)
                pool = self.pools["cpu"]
                make = rng.choice(_STEPS) if len(pool) >= 2 else _leaf
                self._step(make(rng, pool))
            self._backward()

    def _step(self, step: Step) -> None:
        self.history.append(step.text)
        outcome = {device: self._try(step.call, device) for device in DEVICES}
        (cpu, cpu_error), (cuda, cuda_error) = outcome["cpu"], outcome["cuda"]
        if (cpu_error is None) != (cuda_error is None) or type(cpu_error) is not type(cuda_error):
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
        if exact and one != other:
            self._differ(what, str(one), str(other))
        if isinstance(one, str):
            return
        a, b = cpu.detach(), cuda.detach().cpu()
        same = torch.equal(a, b) or torch.allclose(a, b, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-5, equal_nan=True)
        if not same:
            self._differ(f"{what} values", str(a), str(b))

    def _backward(self) -> None:
        roots = [index for index, one in enumerate(self.pools["cpu"]) if not isinstance(_facts(one), str) and one.requires_grad]
        if not roots:
            return

        def backward(pool: list[torch.Tensor], device: str) -> None:
            loss = sum((pool[index].abs() if pool[index].is_complex() else pool[index]).double().sum() for index in roots)
            loss.backward()

        self._step(Step(f"backward of {roots}", lambda pool, device: backward(pool, device) or ()))
        for number, (one, other) in enumerate(zip(self.leaves["cpu"], self.leaves["cuda"], strict=True)):
            if (one.grad is None) != (other.grad is None):
                self._differ(f"grad of leaf {number}", str(one.grad), str(other.grad))
            if one.grad is not None and other.grad is not None:
                self._compare(f"grad of leaf {number}", one.grad, other.grad, exact=False)

    def _differ(self, what: str, cpu: str, cuda: str) -> None:
        raise Difference(f"{what}\n  cpu:  {cpu}\n  cuda: {cuda}\n  after:\n    " + "\n    ".join(self.history))


def _is_leaf(tensor: torch.Tensor) -> bool:
    return not isinstance(_facts(tensor), str) and tensor.requires_grad and tensor.is_leaf


def _facts(tensor: torch.Tensor) -> tuple[Any, ...] | str:
    """What is compared besides values; the error, where autograd forbids to look (a view whose base was changed)."""
    try:
        return (
            tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.storage_offset(), tensor.requires_grad,
            tensor.is_leaf, tensor._is_view(), tensor._version, tensor.is_conj(), tensor.is_neg(),
        )  # fmt: skip
    except RuntimeError as error:
        return str(error)


# Each function below decides one step from the CPU's tensors.


def _pick(rng: random.Random, pool: list[torch.Tensor]) -> int:
    return rng.randrange(len(pool))


def _dim(rng: random.Random, tensor: torch.Tensor) -> int:
    return rng.randrange(-max(tensor.dim(), 1), max(tensor.dim(), 1))


def _leaf(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    dtype = rng.choice(DTYPES)
    shape = [rng.choice((1, 2, 3, 3, 4, 0) if rng.random() < 0.2 else (1, 2, 3, 4)) for _ in range(rng.randrange(4))]
    grad = rng.random() < 0.6 and (dtype.is_floating_point or dtype.is_complex)
    count = torch.Size(shape).numel()
    values = [rng.randrange(-8, 9) / (4 if dtype.is_floating_point or dtype.is_complex else 1) for _ in range(count)]

    def call(_: list[torch.Tensor], device: str) -> torch.Tensor:
        return torch.tensor(values).reshape(shape).to(dtype=dtype, device=device, copy=True).requires_grad_(grad)

    return Step(f"leaf {dtype} {shape} requires_grad={grad}", call)


_UNARY = ("neg", "abs", "sin", "exp", "sqrt", "relu", "sigmoid", "floor", "logical_not", "square", "sign", "tanh", "isnan",
          "clone", "contiguous", "detach", "conj", "reciprocal", "nan_to_num", "log1p", "bitwise_not", "angle")  # fmt: skip


def _unary(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    name, index = rng.choice(_UNARY), _pick(rng, pool)
    return Step(f"t{index}.{name}()", lambda pool, device: getattr(pool[index], name)())


_BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "eq", "lt", "ne", "atan2", "pow", "remainder",
           "logical_and", "bitwise_or", "floor_divide", "fmod", "hypot", "copysign")  # fmt: skip


def _binary(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    name, one, other = rng.choice(_BINARY), _pick(rng, pool), _partner(rng, pool)
    if rng.random() < 0.25:
        scalar = rng.choice((2, -1, 0.5, True, 3))
        return Step(f"torch.{name}(t{one}, {scalar})", lambda pool, device: getattr(torch, name)(pool[one], scalar))
    return Step(f"torch.{name}(t{one}, t{other})", lambda pool, device: getattr(torch, name)(pool[one], pool[other]))


def _partner(rng: random.Random, pool: list[torch.Tensor]) -> int:
    return _pick(rng, pool)


_REDUCTIONS = ("sum", "mean", "amax", "amin", "prod", "any", "all", "argmax", "std", "var", "logsumexp", "norm", "count_nonzero",
               "median", "max", "min", "cumsum", "cumprod", "sort", "argsort", "softmax", "topk", "logcumsumexp", "mode")  # fmt: skip


def _reduction(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    name, index = rng.choice(_REDUCTIONS), _pick(rng, pool)
    if rng.random() < 0.3 and name in ("sum", "mean", "prod", "any", "all", "argmax", "max", "min", "median", "norm", "std"):
        return Step(f"t{index}.{name}()", lambda pool, device: _results(getattr(pool[index], name)()))
    dim = _dim(rng, pool[index])
    if name == "topk":
        return Step(f"t{index}.topk(1, {dim})", lambda pool, device: _results(pool[index].topk(1, dim)))
    return Step(f"t{index}.{name}(dim={dim})", lambda pool, device: _results(getattr(pool[index], name)(dim=dim)))


def _results(result: Any) -> Any:
    return tuple(result) if isinstance(result, tuple) else result


def _matmul(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    one, other = _pick(rng, pool), _pick(rng, pool)
    if rng.random() < 0.5:
        return Step(f"t{one} @ t{other}", lambda pool, device: pool[one] @ pool[other])
    return Step(f"t{one} @ t{one}.mT", lambda pool, device: pool[one] @ pool[one].mT)


def _view(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    index = _pick(rng, pool)
    tensor = pool[index]
    dim, other = _dim(rng, tensor), _dim(rng, tensor)
    start = rng.randrange(3)
    order = rng.sample(range(tensor.dim()), tensor.dim())
    cuts = tuple(slice(rng.randrange(2), None, rng.randrange(1, 3)) for _ in range(tensor.dim()))
    length = rng.randrange(1, 3)
    choices: list[tuple[str, Callable[[torch.Tensor], Any]]] = [
        ("reshape(-1)", lambda one: one.reshape(-1)),
        ("view(-1)", lambda one: one.view(-1)),
        (f"transpose({dim}, {other})", lambda one: one.transpose(dim, other)),
        (f"permute({order})", lambda one: one.permute(order)),
        (f"unsqueeze({dim})", lambda one: one.unsqueeze(dim)),
        ("squeeze()", lambda one: one.squeeze()),
        ("expand(2, ...)", lambda one: one.expand(2, *one.shape)),
        (f"[{cuts}]", lambda one: one[cuts]),
        (f"select({dim}, {start})", lambda one: one.select(dim, start)),
        (f"narrow({dim}, {start}, 1)", lambda one: one.narrow(dim, start, 1)),
        (f"unfold({dim}, {length}, 1)", lambda one: one.unfold(dim, length, 1)),
        ("diagonal()", lambda one: one.diagonal()),
        ("mT", lambda one: one.mT),
        ("real", lambda one: one.real),
        ("imag", lambda one: one.imag),
        ("conj()", lambda one: one.conj()),
        ("conj().imag", lambda one: one.conj().imag),
        ("view_as_real", lambda one: torch.view_as_real(one)),
        ("view(int32)", lambda one: one.detach().view(torch.int32)),
        (f"movedim({dim}, 0)", lambda one: one.movedim(dim, 0)),
        ("swapaxes(0, -1)", lambda one: one.swapaxes(0, -1)),
        (f"unflatten({dim}, (-1, 1))", lambda one: one.unflatten(dim, (-1, 1))),
        (f"as_strided at {start}", lambda one: one.as_strided((2, 2), (1, 1), start)),
    ]
    text, call = rng.choice(choices)
    return Step(f"t{index}.{text}", lambda pool, device: call(pool[index]))


def _in_place(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    index, other = _pick(rng, pool), _pick(rng, pool)
    scalar = rng.choice((0.5, 2, -1))
    cut = slice(rng.randrange(2), None, rng.randrange(1, 3))
    no_grad = rng.random() < 0.4
    choices: list[tuple[str, Callable[[torch.Tensor, torch.Tensor], Any]]] = [
        (f"mul_({scalar})", lambda one, _: one.mul_(scalar)),
        ("add_(other)", lambda one, two: one.add_(two)),
        ("copy_(other)", lambda one, two: one.copy_(two)),
        ("zero_()", lambda one, _: one.zero_()),
        (f"fill_({scalar})", lambda one, _: one.fill_(scalar)),
        # torch fills from zero-dimensional CPU tensors and copies from CUDA ones, with another graph.
        ("[cut] = other", lambda one, two: one.__setitem__(cut, two.reshape(1) if two.dim() == 0 else two)),
        (f"[cut] = {scalar}", lambda one, _: one.__setitem__(cut, scalar)),
        ("[cut] += 1", lambda one, _: one[cut].add_(1)),
        ("clamp_", lambda one, _: one.clamp_(-1, 1)),
        ("masked_fill_", lambda one, two: one.masked_fill_(two > 0, scalar)),
        ("neg_", lambda one, _: one.neg_()),
        ("transpose_", lambda one, _: one.transpose_(0, -1)),
        ("unsqueeze_", lambda one, _: one.unsqueeze_(0)),
        ("squeeze_", lambda one, _: one.squeeze_()),
        ("t() in place of its own", lambda one, _: one.copy_(one.mT)),
        ("addcmul_", lambda one, two: one.addcmul_(two, two)),
        ("lerp_", lambda one, two: one.lerp_(two, 0.5)),
        ("cumsum_", lambda one, _: one.cumsum_(0)),
        ("index_fill_", lambda one, _: one.index_fill_(0, torch.zeros(1, dtype=torch.int64, device=one.device), scalar)),
        ("detach_", lambda one, _: one.detach_()),
        ("requires_grad_", lambda one, _: one.requires_grad_()),
    ]
    text, call = rng.choice(choices)

    def run(pool: list[torch.Tensor], device: str) -> tuple[()]:
        with torch.set_grad_enabled(not no_grad):
            call(pool[index], pool[other])
        return ()

    return Step(f"t{index}.{text} (other: t{other}, no_grad={no_grad})", run)


def _indexing(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    index, other = _pick(rng, pool), _pick(rng, pool)
    dim = _dim(rng, pool[index])
    size = pool[index].shape[dim] if pool[index].dim() else 1
    positions = [rng.randrange(-size, size) if size else 0 for _ in range(rng.randrange(1, 4))]

    def where(device: str) -> torch.Tensor:
        return torch.tensor(positions, device=device)

    choices: list[tuple[str, Call]] = [
        ("[t > 0]", lambda pool, device: pool[index][pool[index] > 0]),
        ("[positions]", lambda pool, device: pool[index][where(device)]),
        ("[..., positions]", lambda pool, device: pool[index][..., where(device)]),
        ("index_select", lambda pool, device: pool[index].index_select(dim, where(device).abs())),
        ("take", lambda pool, device: pool[index].take(where(device))),
        ("where", lambda pool, device: torch.where(pool[index] > 0, pool[index], pool[other])),
        ("gather", lambda pool, device: pool[index].gather(dim, torch.zeros_like(pool[index], dtype=torch.int64))),
        ("scatter_add", lambda pool, device: pool[index].scatter_add(
            dim, torch.zeros_like(pool[index], dtype=torch.int64), pool[index])),
        ("index_put accumulate", lambda pool, device: pool[index].index_put(
            (where(device),), torch.ones((), dtype=pool[index].dtype, device=device), accumulate=True)),
        ("index_add", lambda pool, device: pool[index].index_add(
            dim, where(device).abs(), pool[index].index_select(dim, where(device).abs()))),
        ("masked_select", lambda pool, device: pool[index].masked_select(pool[other] > 0)),
        ("nonzero", lambda pool, device: pool[index].nonzero()),
        ("flip", lambda pool, device: pool[index].flip(dim)),
        ("roll", lambda pool, device: pool[index].roll(1, dim)),
        ("triu", lambda pool, device: pool[index].triu()),
        ("unique", lambda pool, device: pool[index].unique()),
        ("repeat", lambda pool, device: pool[index].repeat(2, *[1] * pool[index].dim())),
        ("item", lambda pool, device: pool[index].item()),
        ("tolist", lambda pool, device: [str(pool[index].tolist())]),
        ("bool", lambda pool, device: bool(pool[index])),
    ]  # fmt: skip
    text, call = rng.choice(choices)
    return Step(f"t{index} {text} (other: t{other}, dim={dim}, positions={positions})", call)


def _joining(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    index, other = _pick(rng, pool), _pick(rng, pool)
    dim = _dim(rng, pool[index])
    choices: list[tuple[str, Callable[[torch.Tensor, torch.Tensor], Any]]] = [
        ("cat", lambda one, two: torch.cat([one, two], dim)),
        ("cat with itself", lambda one, _: torch.cat([one, one], dim)),
        ("stack", lambda one, _: torch.stack([one, one * 2], dim)),
        ("split", lambda one, _: one.split(2, dim)),
        ("chunk", lambda one, _: one.chunk(2, dim)),
        ("unbind", lambda one, _: one.unbind(dim)),
        ("tensor_split", lambda one, _: one.tensor_split(2, dim)),
        ("broadcast_tensors", lambda one, two: torch.broadcast_tensors(one, two)),
        ("foreach_mul", lambda one, two: torch._foreach_mul([one, two], 2)),
    ]
    text, call = rng.choice(choices)
    return Step(f"{text} of t{index}, t{other}, dim={dim}", lambda pool, device: call(pool[index], pool[other]))


def _conversion(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    index, dtype = _pick(rng, pool), rng.choice(DTYPES)
    return Step(f"t{index}.to({dtype})", lambda pool, device: pool[index].to(dtype))


def _out(rng: random.Random, pool: list[torch.Tensor]) -> Step:
    one, other, out = _pick(rng, pool), _pick(rng, pool), _pick(rng, pool)
    name = rng.choice(("add", "mul", "mm", "maximum", "sub", "atan2"))

    def call(pool: list[torch.Tensor], device: str) -> tuple[()]:
        with torch.no_grad():
            getattr(torch, name)(pool[one], pool[other])  # raises first: how far out= got before an error is no promise
            getattr(torch, name)(pool[one], pool[other], out=pool[out])
        return ()

    return Step(f"torch.{name}(t{one}, t{other}, out=t{out})", call)


_STEPS: list[Callable[[random.Random, list[torch.Tensor]], Step]] = [
    _leaf, _unary, _unary, _binary, _binary, _binary, _reduction, _reduction, _matmul, _view, _view, _view, _view,
    _in_place, _in_place, _in_place, _indexing, _indexing, _joining, _conversion, _out,
]  # fmt: skip


def program(seed: int) -> list[int]:
    """The program of a seed: 5 to 50 steps."""
    rng = random.Random(seed)
    return [rng.randrange(2**32) for _ in range(rng.randrange(5, 51))]


def run(steps: Sequence[int]) -> None:
    """Run one program on both devices.

    Raises:
        Difference: they disagree.
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
        except Difference:
            steps = shorter
        else:
            index += 1
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.programs", description="Random programs, cuda against cpu.")
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
        except Difference as difference:
            failures += 1
            print(f"seed {seed}: {difference}\n  shrunk: {shrunk(program(seed))}", flush=True)
            if failures >= options.stop_after:
                break
    print(f"{seed + 1 - options.first} programs, {failures} failures, {time.monotonic() - started:.1f} s")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
