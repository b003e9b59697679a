"""torch.compile on cuda tensors: inductor would need Triton and an NVIDIA GPU, so such graphs run through aot_eager.

Graphs without cuda tensors go to inductor as ever. Backends that a program names itself are left alone.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

_warned: set[str] = set()

_NO_TRITON = (
    "torch.compile: inductor compiles graphs on device cuda to Triton kernels, which need an NVIDIA GPU; torchdevice "
    "runs them through backend='aot_eager' instead: same results, no speed-up. Name that backend yourself to silence "
    "this, or move the model to device cpu, where inductor works."
)


def redirect_cuda_graphs(compile_fx: ModuleType) -> Callable[[], None]:
    """Put a switch before torch._inductor.compile_fx.compile_fx; returns what takes it away."""
    inductor = compile_fx.compile_fx

    @functools.wraps(inductor)
    def switch(model_: Any, example_inputs_: Any, *args: Any, **kwargs: Any) -> Any:
        # Ahead-of-time compilation wants a library of kernels, which nothing but Triton could give: let it say so.
        if compile_fx.V.aot_compilation or not _touches_cuda(model_, example_inputs_):
            return inductor(model_, example_inputs_, *args, **kwargs)
        _warn_once(_NO_TRITON)
        return _run_uncompiled(model_, example_inputs_)

    compile_fx.compile_fx = switch  # type: ignore[attr-defined]

    def restore() -> None:
        compile_fx.compile_fx = inductor  # type: ignore[attr-defined]

    return restore


def _run_uncompiled(model: Any, inputs: Any) -> Any:
    from torch._dynamo.backends.registry import lookup_backend
    from torch._dynamo.exc import TorchDynamoException

    try:
        return lookup_backend("aot_eager")(model, inputs)
    except TorchDynamoException:
        raise  # dynamo's own means to start over or to break the graph
    except Exception as error:
        _warn_once(
            f"torch.compile: backend='aot_eager' does not take a graph on device cuda "
            f"({type(error).__name__}: {error}); torchdevice runs it eagerly: same results, no speed-up."
        )
        return model.forward


def _warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        warnings.warn(text, UserWarning, stacklevel=4)


def _touches_cuda(model: Any, inputs: Iterable[Any]) -> bool:
    return any(device.type == "cuda" for device in _devices(model, inputs))


def _devices(model: Any, inputs: Iterable[Any]) -> Iterator[Any]:
    """The devices of a graph's inputs, parameters and intermediate values."""
    import torch
    from torch.utils._pytree import tree_iter

    values: list[Any] = [inputs]
    if isinstance(model, torch.nn.Module):
        values += [list(model.parameters()), list(model.buffers())]
    if isinstance(model, torch.fx.GraphModule):
        values += [[node.meta.get("example_value"), node.meta.get("val")] for node in model.graph.nodes]
    yield from (leaf.device for leaf in tree_iter(values) if isinstance(leaf, torch.Tensor))
