"""torch.compile on cuda tensors: inductor generates C++ for them (codegen.py); what that needs, and what happens to
graphs where it is missing.

Graphs without cuda tensors go to inductor as ever. Backends that a program names itself are left alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import torch

from torchdevice import _C
from torchdevice.patches.change import Undo, all_of, set_all
from torchdevice.patches.warn import warn_once


def configure(config: ModuleType) -> Undo:
    """Tell torch._inductor.config that cuda's kernels are C++, and that Triton has no device; returns the undo."""
    return set_all(config, {"cuda_backend": "cpp", "triton_disable_device_detection": True})


def serve_cuda_graphs(compile_fx: ModuleType) -> Undo:
    """Put a switch before torch._inductor.compile_fx.compile_fx; returns what takes it away."""
    from torchdevice.patches.inductor.codegen import generate_cpp_for_cuda  # imports most of inductor
    from torchdevice.patches.inductor.uncompiled import compile_or_run

    inductor = compile_fx.compile_fx
    for_one_graph = compile_or_run(compile_fx.compile_fx_inner)

    @functools.wraps(inductor)
    def switch(
        model_: Any, example_inputs_: Any, *args: Any, config_patches: dict[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        if _touches_cuda(model_, example_inputs_):
            if compile_fx.V.aot_compilation:
                raise NotImplementedError(_NO_LIBRARY)
            obstacle = _obstacle(model_)
            if obstacle is not None:
                warn_once(f"{obstacle} {_UNCOMPILED}")
                return _run_uncompiled(model_, example_inputs_)
            config_patches = _without_gpus_settings(compile_fx.config, config_patches)
            if not args:
                kwargs.setdefault("inner_compile", for_one_graph)
        return inductor(model_, example_inputs_, *args, config_patches=config_patches, **kwargs)

    return all_of(generate_cpp_for_cuda(), set_all(compile_fx, {"compile_fx": switch}))


def call_without_graphs(backend: ModuleType) -> Undo:
    """Let torch._dynamo.backends.cudagraphs capture no CUDA graphs; returns what brings them back."""
    from torch._dynamo.backends.registry import lookup_backend

    return set_all(backend, {"cudagraphs": lambda model, inputs: lookup_backend("aot_eager")(model, inputs)})


def _without_gpus_settings(config: Any, patches: dict[str, Any] | None) -> dict[str, Any] | None:
    """What mode="reduce-overhead" and the like ask for and only a GPU has: CUDA graphs and combined kernels
    save launches, which cost nothing here; C++ around kernels, not Python, is written against CUDA's libraries."""
    gpus = {
        "triton.cudagraphs": config.triton.cudagraphs,
        "combo_kernels": config.combo_kernels,
        "cpp_wrapper": config.cpp_wrapper,
    }
    settings = {**gpus, **(patches or {})}
    switched_off = {name: False for name in gpus if settings[name]}
    return {**(patches or {}), **switched_off} if switched_off else patches


_NO_LIBRARY = (
    "torch._inductor compiles graphs on device cuda ahead of time into a library that needs CUDA's, which torchdevice "
    "does not have: export the model on device cpu, or use torch.compile."
)

_UNCOMPILED = (
    "torchdevice runs such graphs through backend='aot_eager' instead: same results, no speed-up. Name that backend "
    "yourself to silence this."
)


def _obstacle(model: Any) -> str | None:
    """Why no C++ can be generated for this graph on cuda."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    if _C.native_backend_name() != "cpu":
        # A generated kernel would run before what was submitted to the native device is done.
        return (
            f"torch.compile: inductor generates code for the CPU, and device cuda runs on '{_C.native_backend_name()}';"
        )
    if any("flex_attention" in str(node.target) for node in getattr(getattr(model, "graph", None), "nodes", ())):
        return "torch.compile: inductor has kernels of flex_attention on device cuda in Triton only;"
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        return f"torch.compile: inductor generates C++ for graphs on device cuda, but {_first_line(error)};"
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _run_uncompiled(model: Any, inputs: Any) -> Any:
    from torch._dynamo.backends.registry import lookup_backend
    from torch._dynamo.exc import TorchDynamoException

    try:
        return lookup_backend("aot_eager")(model, inputs)
    except TorchDynamoException:
        raise  # dynamo's own means to start over or to break the graph
    except Exception as error:
        warn_once(
            f"torch.compile: backend='aot_eager' does not take a graph on device cuda "
            f"({type(error).__name__}: {error}); torchdevice runs it eagerly: same results, no speed-up."
        )
        return model.forward


def _touches_cuda(model: Any, inputs: Iterable[Any]) -> bool:
    return any(device.type == "cuda" for device in _devices(model, inputs))


def _devices(model: Any, inputs: Iterable[Any]) -> Iterator[Any]:
    """The devices of a graph's inputs, parameters and intermediate values."""
    from torch.utils._pytree import tree_iter

    values: list[Any] = [inputs]
    if isinstance(model, torch.nn.Module):
        values += [list(model.parameters()), list(model.buffers())]
    if isinstance(model, torch.fx.GraphModule):
        values += [[node.meta.get("example_value"), node.meta.get("val")] for node in model.graph.nodes]
    yield from (leaf.device for leaf in tree_iter(values) if isinstance(leaf, torch.Tensor))
