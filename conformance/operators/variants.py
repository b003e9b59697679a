"""The ways in which one sample of an operator is called: variants of the function, gradients, layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch.testing._internal.common_utils import noncontiguous_like
from torch.testing._internal.opinfo.core import OpInfo, SampleInput
from torch.utils import _pytree as pytree

from conformance.operators.observation import Trial
from conformance.operators.replicas import OnHost

UNINITIALISED = {
    "empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided",
    "resize_", "resize_as_",
}  # fmt: skip
#: The CPU reads memory that nobody wrote where the batch is empty.
UNDEFINED_WHEN_EMPTY = {"nn.functional.multi_margin_loss", "nn.functional.multilabel_margin_loss"}
#: Operators whose further tensor arguments CUDA wants on the CPU; they say so in their errors.
HOST_ARGUMENTS = {"tensor_split"}
#: Second derivatives are taken of samples up to this size.
SMALL = 400
_NEGATED = (torch.float32, torch.float64, torch.complex64, torch.complex128)

Call = Callable[..., Any]


def of_sample(op: OpInfo, index: int, sample: SampleInput, differentiable: bool) -> Iterator[Trial]:
    """Every trial of one sample."""
    arguments = (sample.input, sample.args, sample.kwargs)
    fresh = op.name in UNINITIALISED
    if op.name in HOST_ARGUMENTS:
        sample = sample.transform(lambda one: one)
        sample.args = pytree.tree_map_only(torch.Tensor, OnHost, sample.args)
        arguments = (sample.input, sample.args, sample.kwargs)

    def trial(variant: str, call: Call, arguments: tuple[Any, ...] = arguments) -> Trial:
        return Trial(index, variant, call, arguments, fresh)

    yield trial("forward", _plain(op.op))
    for variant, function in (("method", op.get_method()), ("operator", op.get_operator())):
        if function is not None and function is not op.op:
            yield trial(variant, _plain(function))
    if not sample.broadcasts_input:
        for variant, function in (("inplace", op.get_inplace()), ("inplace_operator", op.get_inplace_operator())):
            if function is not None:
                yield trial(variant, _without_grad(_plain(function)))
    if op.supports_out:
        for variant, layout in (
            ("out", _like),
            ("out_resized", _empty),
            ("out_wrong_size", _larger),
            ("out_strided", _strided),
        ):
            yield trial(variant, _without_grad(_with_out(op.op, layout)))
    for one in _of_layouts(sample, trial, _plain(op.op)):
        if one.variant != "zero_size" or op.name not in UNDEFINED_WHEN_EMPTY:
            yield one
    if not differentiable or fresh:
        return
    process = sample.output_process_fn_grad
    yield trial("backward", _backward(_plain(op.op), process))
    if not sample.broadcasts_input and op.get_inplace() is not None and op.supports_inplace_autograd:
        yield trial("inplace_backward", _backward(_on_clone(_plain(op.get_inplace())), process))
    if op.supports_gradgrad and sum(tensor.numel() for tensor in _tensors(arguments)) < SMALL:
        yield trial("double_backward", _double_backward(_plain(op.op), process))
    if op.supports_forward_ad:
        yield trial("forward_ad", _forward_ad(_plain(op.op)))


def _of_layouts(sample: SampleInput, trial: Callable[..., Trial], call: Call) -> Iterator[Trial]:
    tensors = _tensors((sample.input, sample.args, sample.kwargs))
    if not tensors or any(one.layout != torch.strided or one.is_nested for one in tensors):
        return
    changes: list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = [
        ("noncontiguous", _noncontiguous),
        ("zero_size", _zero_size),
    ]
    if any(one.dim() == 4 and one.numel() for one in tensors):
        changes.append(("channels_last", _channels_last))
    if any(one.is_complex() for one in tensors):
        changes.append(("conj_view", lambda one: one.detach().conj()))
    if any(one.dtype in _NEGATED for one in tensors):
        changes.append(("neg_view", _negative))
    for variant, change in changes:
        changed = sample.transform(lambda one, change=change: change(one) if isinstance(one, torch.Tensor) else one)
        for old, new in zip(tensors, _tensors((changed.input, changed.args, changed.kwargs)), strict=True):
            new.requires_grad_(old.requires_grad and new.is_leaf)
        yield trial(variant, call, (changed.input, changed.args, changed.kwargs))


def _noncontiguous(tensor: torch.Tensor) -> torch.Tensor:
    return noncontiguous_like(tensor).detach() if tensor.numel() else tensor.detach()


def _zero_size(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach()[:0] if tensor.dim() else tensor.detach()


def _negative(tensor: torch.Tensor) -> torch.Tensor:
    return torch._neg_view(tensor.detach()) if tensor.dtype in _NEGATED else tensor.detach()


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor.detach()


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _plain(function: Call) -> Call:
    return lambda input, args, kwargs: function(input, *args, **kwargs)


def _without_grad(call: Call) -> Call:
    def wrapped(*arguments: Any) -> Any:
        with torch.no_grad():
            return call(*arguments)

    return wrapped


def _on_clone(call: Call) -> Call:
    return lambda input, args, kwargs: call(pytree.tree_map_only(torch.Tensor, torch.clone, input), args, kwargs)


def _with_out(function: Call, layout: Callable[[torch.Tensor], torch.Tensor]) -> Call:
    def wrapped(input: Any, args: Any, kwargs: Any) -> Any:
        expected = function(input, *args, **kwargs)
        out = pytree.tree_map_only(torch.Tensor, layout, expected)
        out = tuple(out) if isinstance(out, (tuple, list)) and not isinstance(expected, list) else out
        result = function(input, *args, **kwargs, out=out)
        identical = [one is other for one, other in zip(_tensors(result), _tensors(out), strict=False)]
        return result, out, identical

    return wrapped


def _like(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor)


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device)


def _larger(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros((*tensor.shape, 2), dtype=tensor.dtype, device=tensor.device)


def _strided(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dim() == 0:
        return torch.zeros(3, dtype=tensor.dtype, device=tensor.device)[1]
    return torch.zeros((*tensor.shape[:-1], 2 * tensor.shape[-1]), dtype=tensor.dtype, device=tensor.device)[..., ::2]


def _cotangents(results: list[torch.Tensor]) -> list[torch.Tensor]:
    return [_ramp(result) for result in results]


def _ramp(tensor: torch.Tensor) -> torch.Tensor:
    """Values in [-1, 1] without a random generator, the same on every device."""
    if tensor.layout != torch.strided or tensor.is_nested:
        return torch.ones_like(tensor)
    ramp = torch.linspace(-1, 1, tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
    values = torch.complex(ramp, ramp.flip(0) if ramp.dim() else ramp) if tensor.is_complex() else ramp
    return values.to(dtype=tensor.dtype, device=tensor.device, copy=True)


def _differentiable(tree: Any) -> list[torch.Tensor]:
    return [one for one in _tensors(tree) if one.requires_grad and (one.is_floating_point() or one.is_complex())]


def _backward(call: Call, process: Call) -> Call:
    def wrapped(*arguments: Any) -> Any:
        results = _differentiable(process(call(*arguments)))
        return results, _grad(results, _differentiable(arguments), _cotangents(results))

    return wrapped


def _double_backward(call: Call, process: Call) -> Call:
    def wrapped(*arguments: Any) -> Any:
        inputs = _differentiable(arguments)
        results = _differentiable(process(call(*arguments)))
        cotangents = [cotangent.requires_grad_() for cotangent in _cotangents(results)]
        first = _grad(results, inputs, cotangents, create_graph=True)
        graded = _differentiable(first)
        return first, _grad(graded, [*inputs, *cotangents], _cotangents(graded))

    return wrapped


def _grad(results: list[torch.Tensor], inputs: list[torch.Tensor], cotangents: list[torch.Tensor], **how: Any) -> Any:
    if not results or not inputs:
        return ()
    return torch.autograd.grad(results, inputs, cotangents, allow_unused=True, **how)


def _forward_ad(call: Call) -> Call:
    def wrapped(*arguments: Any) -> Any:
        with forward_ad.dual_level():
            dual = pytree.tree_map_only(
                torch.Tensor, lambda one: forward_ad.make_dual(one, _ramp(one)) if one.requires_grad else one, arguments
            )
            return [tuple(forward_ad.unpack_dual(result)) for result in _tensors(call(*dual))]

    return wrapped
