"""What torch describes: its operators, in every layout, its modules and its optimizers."""

from __future__ import annotations

import contextlib
import copy
import itertools
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.testing._internal import common_methods_invocations as methods
from torch.testing._internal.common_modules import ModuleInfo, module_db
from torch.testing._internal.common_optimizers import (
    OptimizerInfo,
    _get_optim_inputs_including_global_cliquey_kwargs,
    optim_db,
)
from torch.testing._internal.opinfo import core
from torch.testing._internal.opinfo.definitions.nested import njt_op_db

from conformance.operators import variants
from conformance.operators.observation import SEED, Trial


def _plainly(function: Any, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


# torch wraps its random operators so that they are seeded anew and no generator moves; here it shall move.
setattr(methods, "wrapper_set_seed", _plainly)  # noqa: B010 - mypy knows it as a function of another module

_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


@dataclass(frozen=True)
class Subject:
    """One thing to try: trials(dtype, limit) yields its calls, limited to the first `limit` samples."""

    key: str
    family: str
    info: Any

    def dtypes(self) -> list[torch.dtype]:
        raise NotImplementedError

    def trials(self, dtype: torch.dtype, limit: int | None) -> Iterator[Trial]:
        raise NotImplementedError


class Operator(Subject):
    """An OpInfo on dense tensors."""

    errors = True

    def dtypes(self) -> list[torch.dtype]:
        """Without those that CUDA refuses; `conformance.strict` is about them."""
        refused = set(self.info.dtypes) - set(self.info.dtypesIfCUDA)
        return sorted(self.info.supported_dtypes("cpu") - refused, key=str)

    def samples(self, dtype: torch.dtype, requires_grad: bool) -> Iterator[core.SampleInput]:
        yield from self.info.sample_inputs("cpu", dtype, requires_grad=requires_grad)

    def trials(self, dtype: torch.dtype, limit: int | None) -> Iterator[Trial]:
        op: core.OpInfo = self.info
        differentiable = dtype in op.supported_backward_dtypes("cpu")
        torch.manual_seed(SEED)
        for index, sample in enumerate(itertools.islice(self.samples(dtype, differentiable), limit)):
            yield from variants.of_sample(op, index, sample, differentiable)
        if self.errors and (dtype == torch.float32 or self.dtypes()[0] == dtype):
            torch.manual_seed(SEED)
            for index, error in enumerate(op.error_inputs("cpu") if op.error_inputs_func is not None else ()):
                sample = error.sample_input
                yield Trial(index, "error_inputs", variants._plain(op.op), (sample.input, sample.args, sample.kwargs))


class SparseOperator(Operator):
    """An OpInfo on one sparse layout."""

    errors = False

    def samples(self, dtype: torch.dtype, requires_grad: bool) -> Iterator[core.SampleInput]:
        layout = next(layout for layout in _SPARSE if f"[{_name(layout)}]" in self.key)
        op: core.OpInfo = self.info
        described = getattr(op, f"sample_inputs_{_name(layout)}_func")
        if described.__name__ != "_sample_inputs_unspecified":
            with contextlib.suppress(unittest.SkipTest):  # torch has none for some dtypes
                yield from op.sample_inputs_sparse(layout, "cpu", dtype, requires_grad=requires_grad)
            return
        for sample in op.sample_inputs("cpu", dtype, requires_grad=False):
            with contextlib.suppress(RuntimeError, IndexError):  # not every shape can have every layout
                sample.input = _to_layout(sample.input, layout).requires_grad_(requires_grad)
                yield sample

    def trials(self, dtype: torch.dtype, limit: int | None) -> Iterator[Trial]:
        return (
            one for one in super().trials(dtype, limit) if one.variant in ("forward", "method", "inplace", "backward")
        )


class NestedOperator(Operator):
    """An OpInfo on jagged nested tensors."""

    errors = False

    def dtypes(self) -> list[torch.dtype]:
        return [torch.float32]

    def trials(self, dtype: torch.dtype, limit: int | None) -> Iterator[Trial]:
        # torch 2.13's backward of split_with_sizes on nested tensors corrupts memory, on the CPU too.
        variants = ("forward",) if "split_with_sizes" in self.key else ("forward", "backward")
        return (one for one in super().trials(dtype, limit) if one.variant in variants)


class Module(Subject):
    """A ModuleInfo: construction on the CPU, then forward and backward in training and evaluation."""

    def dtypes(self) -> list[torch.dtype]:
        return sorted(self.info.dtypes, key=str)

    def trials(self, dtype: torch.dtype, limit: int | None) -> Iterator[Trial]:
        info: ModuleInfo = self.info
        for training in (True, False):
            torch.manual_seed(SEED)
            inputs = info.module_inputs_func(info, "cpu", dtype, requires_grad=True, training=training)
            for index, one in enumerate(itertools.islice(inputs, limit)):
                constructor = one.constructor_input
                module = info.module_cls(*constructor.args, **constructor.kwargs).to(dtype).train(training)
                run = variants._backward(_module_call(module), lambda result: result)
                forward = one.forward_input
                if forward is not None:
                    yield Trial(index, "train" if training else "eval", run, ("cpu", forward.args, forward.kwargs))


def _module_call(module: torch.nn.Module) -> variants.Call:
    def call(device: str, args: Any, kwargs: Any) -> Any:
        mine = copy.deepcopy(module).to(device)
        return mine(*args, **kwargs), tuple(mine.parameters()), tuple(mine.buffers())

    return call


class Optimizer(Subject):
    """An OptimizerInfo: three steps with fixed gradients, then parameters and state."""

    def dtypes(self) -> list[torch.dtype]:
        return [torch.float32, torch.float64, *([torch.complex64] if self.info.supports_complex else [])]

    def trials(self, dtype: torch.dtype, limit: int | None) -> Iterator[Trial]:
        info: OptimizerInfo = self.info
        for index, one in enumerate(_get_optim_inputs_including_global_cliquey_kwargs("cuda", dtype, info)):
            torch.manual_seed(SEED)
            shapes = ((3, 4), (2, 5)) if info.name == "Muon" else ((3, 4), (5,))
            parameters = [torch.randn(shape, dtype=dtype) for shape in shapes]
            yield Trial(index, one.desc, _optimizer_call(info), (parameters, one.kwargs))


def _optimizer_call(info: OptimizerInfo) -> variants.Call:
    def call(parameters: list[torch.Tensor], kwargs: dict[str, Any]) -> Any:
        parameters = [one.detach().clone().requires_grad_() for one in parameters]
        if kwargs.get("capturable") and parameters[0].device.type == "cpu":  # only accelerators can be captured
            kwargs = {name: value for name, value in kwargs.items() if name not in ("capturable", "foreach")}
        make: Any = info.optim_cls
        optimizer = make(parameters, **kwargs)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = torch.stack([(one * one.conj()).real.sum() for one in parameters]).sum()
            for one in parameters:
                grad = (one.detach() * 2 + 1).clone()
                one.grad = grad.to_sparse() if info.only_supports_sparse_grads else grad
            return loss.detach()

        for _ in range(3):
            loss = closure()
            optimizer.step(closure if info.step_requires_closure else None)
        state = optimizer.state_dict()["state"]
        for one in state.values():
            for name in ("step", "mu_product", "eta", "mu"):
                if isinstance(one.get(name), torch.Tensor):
                    one[name] = one[name].to(parameters[0].device)  # torch keeps it on the CPU unless capturable
        return loss, [one.detach() for one in parameters], state

    return call


def _name(layout: torch.layout) -> str:
    return str(layout).removeprefix("torch.")


def _to_layout(tensor: torch.Tensor, layout: torch.layout) -> torch.Tensor:
    blocks = (1, 1) if layout in (torch.sparse_bsr, torch.sparse_bsc) else None
    return tensor.to_sparse(layout=layout, blocksize=blocks)


def _family(op: core.OpInfo) -> str:
    name, kind = op.name, type(op).__name__
    for prefix, family in (
        ("_foreach", "foreach"), ("linalg.", "linalg"), ("fft.", "fft"), ("special.", "special"), ("signal.", "signal"),
        ("masked.", "masked"), ("nn.functional.", "nn.functional"), ("sparse.", "sparse"), ("_refs.", "refs"),
    ):  # fmt: skip
        if name.startswith(prefix):
            return family
    kinds = {"UnaryUfuncInfo": "unary", "BinaryUfuncInfo": "binary", "ReductionOpInfo": "reduction",
             "SpectralFuncInfo": "fft", "ShapeFuncInfo": "shape", "ForeachFuncInfo": "foreach"}  # fmt: skip
    return kinds.get(kind, "other")


@cache
def subjects() -> dict[str, Subject]:
    """Every subject by its key, in a fixed order."""
    found: list[Subject] = []
    foreach = (methods.foreach_unary_op_db + methods.foreach_binary_op_db + methods.foreach_pointwise_op_db
               + methods.foreach_reduce_op_db + methods.foreach_other_op_db)  # fmt: skip
    for op in methods.op_db + foreach:
        found.append(Operator(op.full_name, _family(op), op))
        for layout in _SPARSE:
            if op.supports_sparse_layout(layout):
                found.append(SparseOperator(f"{op.full_name} [{_name(layout)}]", "sparse layouts", op))
    for op in njt_op_db:
        if op.supports_njt:
            found.append(NestedOperator(f"{op.full_name} [nested]", "nested layouts", op))
    found += (Module(f"module {info.name}", "modules", info) for info in module_db)
    found += (Optimizer(f"optimizer {info.name}", "optimizers", info) for info in optim_db)
    return {one.key: one for one in found}
