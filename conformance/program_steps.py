"""The steps of random programs: each function decides, from an integer's random numbers and the CPU's tensors, what
one step calls. The call is then made with the tensors of each device.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Pool = list[torch.Tensor]
Call = Callable[[Pool, str], Any]
OnTwo = Callable[[torch.Tensor, torch.Tensor], Any]
DTYPES = (
    torch.float32,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.bool,
    torch.complex64,
    torch.bfloat16,
    torch.int32,
)


@dataclass
class Step:
    """One step that was decided on: its text and what it calls."""

    text: str
    call: Call


def _pick(rng: random.Random, pool: Pool) -> int:
    return rng.randrange(len(pool))


def _dim(rng: random.Random, tensor: torch.Tensor) -> int:
    return rng.randrange(-max(tensor.dim(), 1), max(tensor.dim(), 1))


def leaf(rng: random.Random, pool: Pool) -> Step:
    dtype = rng.choice(DTYPES)
    shape = [rng.choice((1, 2, 3, 3, 4, 0) if rng.random() < 0.2 else (1, 2, 3, 4)) for _ in range(rng.randrange(4))]
    grad = rng.random() < 0.6 and (dtype.is_floating_point or dtype.is_complex)
    count = torch.Size(shape).numel()
    values = [rng.randrange(-8, 9) / (4 if dtype.is_floating_point or dtype.is_complex else 1) for _ in range(count)]

    def call(_: Pool, device: str) -> torch.Tensor:
        return torch.tensor(values).reshape(shape).to(dtype=dtype, device=device, copy=True).requires_grad_(grad)

    return Step(f"leaf {dtype} {shape} requires_grad={grad}", call)


_UNARY = (
    "neg", "abs", "sin", "exp", "sqrt", "relu", "sigmoid", "floor", "logical_not", "square", "sign", "tanh",
    "isnan", "clone", "contiguous", "detach", "conj", "reciprocal", "nan_to_num", "log1p", "bitwise_not", "angle",
)  # fmt: skip
_BINARY = (
    "add", "sub", "mul", "div", "maximum", "minimum", "eq", "lt", "ne", "atan2", "pow", "remainder", "logical_and",
    "bitwise_or", "floor_divide", "fmod", "hypot", "copysign",
)  # fmt: skip
_DIVISIONS = ("remainder", "floor_divide", "fmod")
# Not median: torch 2.13's CPU kernel returns unwritten memory where a dimension is expanded.
_REDUCTIONS = (
    "sum", "mean", "amax", "amin", "prod", "any", "all", "argmax", "std", "var", "logsumexp", "norm",
    "count_nonzero", "max", "min", "cumsum", "cumprod", "sort", "argsort", "softmax", "topk",
    "logcumsumexp", "mode",
)  # fmt: skip
#: Reductions that also take no dimension; not max, min and median, whose gradient torch computes otherwise on cuda
#: (evenly_distribute_backward), with NaN where the incoming gradient is NaN.
_FULL = ["sum", "mean", "prod", "any", "all", "argmax", "norm", "std"]


def _unary(rng: random.Random, pool: Pool) -> Step:
    name, index = rng.choice(_UNARY), _pick(rng, pool)
    if name == "abs" and pool[index].dtype == torch.bool:
        name = "clone"  # CUDA's abs knows bool, and the CPU's does not
    if name == "angle" and pool[index].dtype in (torch.float16, torch.bfloat16):
        name = "sign"  # CUDA's angle knows no halves
    return Step(f"t{index}.{name}()", lambda pool, device: getattr(pool[index], name)())


def _binary(rng: random.Random, pool: Pool) -> Step:
    name, one, other = rng.choice(_BINARY), _pick(rng, pool), _pick(rng, pool)
    if rng.random() < 0.25:
        scalar = rng.choice((2, -1, 0.5, True, 3))
        return Step(f"torch.{name}(t{one}, {scalar})", lambda pool, device: getattr(torch, name)(pool[one], scalar))
    if name in _DIVISIONS and _has_integer_zero(pool[other]):
        name = "mul"  # an error on the CPU, and some number on CUDA
    return Step(f"torch.{name}(t{one}, t{other})", lambda pool, device: getattr(torch, name)(pool[one], pool[other]))


def _has_integer_zero(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex() and bool((tensor == 0).any())


def _reduction(rng: random.Random, pool: Pool) -> Step:
    name, index = rng.choice(_REDUCTIONS), _pick(rng, pool)
    if rng.random() < 0.3 and name in _FULL:
        return Step(f"t{index}.{name}()", lambda pool, device: _results(getattr(pool[index], name)()))
    dim = _dim(rng, pool[index])
    if name == "topk":
        return Step(f"t{index}.topk(1, {dim})", lambda pool, device: _results(pool[index].topk(1, dim)))
    return Step(f"t{index}.{name}(dim={dim})", lambda pool, device: _results(getattr(pool[index], name)(dim=dim)))


def _results(result: Any) -> Any:
    return tuple(result) if isinstance(result, tuple) else result


def _factor(tensor: torch.Tensor) -> torch.Tensor:
    """A GPU refuses products of integers."""
    return tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.double()


def _matmul(rng: random.Random, pool: Pool) -> Step:
    one, other = _pick(rng, pool), _pick(rng, pool)
    if rng.random() < 0.5:
        return Step(f"t{one} @ t{other}", lambda pool, device: _factor(pool[one]) @ _factor(pool[other]))
    return Step(f"t{one} @ t{one}.mT", lambda pool, device: _factor(pool[one]) @ _factor(pool[one]).mT)


def _view(rng: random.Random, pool: Pool) -> Step:
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


def _in_place(rng: random.Random, pool: Pool) -> Step:
    index, other = _pick(rng, pool), _pick(rng, pool)
    scalar = rng.choice((0.5, 2, -1))
    cut = slice(rng.randrange(2), None, rng.randrange(1, 3))
    no_grad = rng.random() < 0.4
    choices: list[tuple[str, OnTwo]] = [
        (f"mul_({scalar})", lambda one, _: one.mul_(scalar)),
        ("add_(other)", lambda one, two: one.add_(two)),
        ("copy_(other)", lambda one, two: one.copy_(two)),
        ("zero_()", lambda one, _: one.zero_()),
        (f"_foreach_mul_({scalar})", lambda one, _: torch._foreach_mul_([one], scalar)),
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
        (
            "index_fill_",
            lambda one, _: one.index_fill_(0, torch.zeros(1, dtype=torch.int64, device=one.device), scalar),
        ),
        ("detach_", lambda one, _: one.detach_()),
        ("requires_grad_", lambda one, _: one.requires_grad_()),
    ]
    text, call = rng.choice(choices)

    def run(pool: Pool, device: str) -> tuple[()]:
        with torch.set_grad_enabled(not no_grad):
            call(pool[index], pool[other])
        return ()

    return Step(f"t{index}.{text} (other: t{other}, no_grad={no_grad})", run)


def _indexing(rng: random.Random, pool: Pool) -> Step:
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
        ("item", lambda pool, device: pool[index].detach().item()),
        ("tolist", lambda pool, device: [str(pool[index].detach().tolist())]),
        ("bool", lambda pool, device: bool(pool[index])),
    ]  # fmt: skip
    text, call = rng.choice(choices)
    return Step(f"t{index} {text} (other: t{other}, dim={dim}, positions={positions})", call)


def _joining(rng: random.Random, pool: Pool) -> Step:
    index, other = _pick(rng, pool), _pick(rng, pool)
    dim = _dim(rng, pool[index])
    choices: list[tuple[str, OnTwo]] = [
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


def _conversion(rng: random.Random, pool: Pool) -> Step:
    index, dtype = _pick(rng, pool), rng.choice(DTYPES)
    return Step(f"t{index}.to({dtype})", lambda pool, device: pool[index].to(dtype))


def _out(rng: random.Random, pool: Pool) -> Step:
    one, other, out = _pick(rng, pool), _pick(rng, pool), _pick(rng, pool)
    name = rng.choice(("add", "mul", "mm", "maximum", "sub", "atan2"))

    def call(pool: Pool, device: str) -> tuple[()]:
        with torch.no_grad():
            operands = pool[one], pool[other]
            if name == "mm":  # it does not look for overlap, so that a product into its operand is anything
                operands = _factor(operands[0]).clone(), _factor(operands[1]).clone()
            getattr(torch, name)(*operands)  # raises first: how far out= got before an error is no promise
            getattr(torch, name)(*operands, out=pool[out])
        return ()

    return Step(f"torch.{name}(t{one}, t{other}, out=t{out})", call)


STEPS: list[Callable[[random.Random, Pool], Step]] = [
    leaf, _unary, _unary, _binary, _binary, _binary, _reduction, _reduction, _matmul, _view, _view, _view, _view,
    _in_place, _in_place, _in_place, _indexing, _indexing, _joining, _conversion, _out,
]  # fmt: skip
