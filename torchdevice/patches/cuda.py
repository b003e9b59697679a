"""torch.cuda, torch.backends and what they ask of torch._C: values of a time before the extension was there.

The table in patches/__init__.py says why each is changed.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from torchdevice import _C
from torchdevice.patches import versions
from torchdevice.patches.change import Undo, add_all, all_of, set_all, set_item, unchanged

#: torch's stub does not list all of its names.
_names: Any = torch._C


#: Modules of torch._C that a CPU build has too: only some of their names are CUDA's.
_SHARED = ("torch._C", "torch._C._distributed_c10d", "torch._C._dynamo", "torch._C._dynamo.guards")


def supply_names() -> Undo:
    """Give torch._C the names of a CUDA build, over those of a real one; returns what takes them back."""
    if _C.torch_is_cuda_build():
        _follow_build()
    return _merge(torch._C, _C.names_of_a_cuda_build())


def _follow_build() -> None:
    """Say the versions of the libraries that this build of torch was made with.

    Not its architectures: asking for those forbids forked children to use a GPU.
    """
    nccl = _names._nccl_version()
    _C.follow_release(
        _names._cuda_getCompiledVersion(),
        _names._cudnn.getCompileVersion(),
        (nccl >> 32, nccl >> 16 & 0xFFFF, nccl & 0xFFFF),
    )


def _merge(module: ModuleType, names: ModuleType) -> Undo:
    values = {name: value for name, value in vars(names).items() if not name.startswith("__")}
    undos = []
    for name, value in list(values.items()):
        if not isinstance(value, ModuleType):
            continue
        if value.__name__ in _SHARED:
            undos.append(_merge(getattr(module, name), values.pop(name)))
        else:
            undos.append(set_item(sys.modules, value.__name__, value))
    return all_of(*undos, add_all(module, values))


def say_it_is_built() -> Undo:
    return set_all(torch._C, {"_has_cuda": True})


def say_magma_is_there() -> Undo:
    return all_of(set_all(torch._C, {"_has_magma": True}), set_all(torch.cuda, {"has_magma": True}))


def name_the_release() -> Undo:
    if _C.torch_is_cuda_build():  # other CUDA builds, such as torchvision's, compare theirs with it
        return unchanged
    return set_all(torch.version, {"cuda": _C.cuda_version()})


def say_cudnn_is_there() -> Undo:
    return set_all(torch._C, {"_has_cudnn": True})


def rerun_cudnn() -> Undo:
    """Execute torch.backends.cudnn again where it is: importlib.reload refuses the object that fronts the module."""
    name = "torch.backends.cudnn"
    front: Any = sys.modules[name]
    module, kind, before = front.m, type(front), dict(vars(front.m))

    def restore() -> None:
        vars(module).clear()
        vars(module).update(before)
        front.__class__ = kind

    try:
        module.__spec__.loader.exec_module(module)
        front.__class__ = type(sys.modules[name])
    except BaseException:
        restore()
        raise
    finally:
        sys.modules[name] = front
    return restore


def give_cudnn_to_rnn() -> Undo:
    return set_all(sys.modules["torch.backends.cudnn.rnn"].m, {"_cudnn": _names._cudnn})


def reload_modules() -> Undo:
    modules = (torch.cuda.streams, torch.cuda.graphs, torch.cuda.memory)
    before = [(module, dict(vars(module))) for module in modules]

    def restore() -> None:
        for module, names in reversed(before):
            vars(module).clear()
            vars(module).update(names)

    try:
        for module in modules:
            importlib.reload(module)
    except BaseException:
        restore()
        raise
    return restore


def import_again() -> Undo:
    """Give torch.cuda the objects that the reload made anew."""
    streams, graphs, memory = torch.cuda.streams, torch.cuda.graphs, torch.cuda.memory
    names = {name: getattr(streams, name) for name in ("Stream", "ExternalStream", "Event")}
    names.update(versions.private_names_of_memory(memory))
    for module in (graphs, memory):
        names.update({name: getattr(module, name) for name in module.__all__ if hasattr(torch.cuda, name)})
    return set_all(torch.cuda, names)


def look_up_again() -> Undo:
    return set_all(
        torch.cuda,
        {
            "_cudart": _names._cudart,
            "_is_in_bad_fork": _names._cuda_isInBadFork,
            "_CudaDeviceProperties": _names._CudaDeviceProperties,
            "_exchange_device": _names._cuda_exchangeDevice,
            "_maybe_exchange_device": _names._cuda_maybeExchangeDevice,
        },
    )


def give_nvtx() -> Undo:
    return set_all(torch.cuda.nvtx, {"_nvtx": _names._nvtx})


def answer_for_nvml() -> Undo:
    return set_all(
        torch.cuda, {"_raw_device_count_nvml": _C.configured_device_count, "_raw_device_uuid_nvml": _C.device_uuids}
    )


def answer_about_attention() -> Undo:
    return set_all(
        torch._C,
        {
            "_is_flash_attention_available": lambda: True,
            "_can_use_flash_attention": _C.can_use_flash_attention,
            "_can_use_mem_efficient_attention": _C.can_use_mem_efficient_attention,
            "_can_use_cudnn_attention": _C.can_use_cudnn_attention,
        },
    )


def ask_about_native_convolutions() -> Undo:
    names = ("_select_conv_backend", "_conv_determine_backend_memory_format")
    return set_all(torch._C, {name: _asked_about_native_tensors(getattr(torch._C, name)) for name in names})


def _asked_about_native_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    def native(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.device.type != "cuda":
            return value
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=_C.native_backend_name())

    @functools.wraps(function)
    def ask(*args: Any, **kwargs: Any) -> Any:
        return function(*map(native, args), **{name: native(value) for name, value in kwargs.items()})

    return ask


def refresh_dynamo() -> Undo:
    """Give torch._dynamo the classes that the reload made anew, if a program imported it before they were there."""
    if "torch._dynamo.device_interface" not in sys.modules:
        return unchanged
    from torch._dynamo import device_interface
    from torch._dynamo.variables import streams

    return all_of(
        set_all(device_interface, {"get_cuda_stream": _names._cuda_getCurrentRawStream}),
        set_all(device_interface.CudaInterface, {"Event": torch.cuda.Event, "Stream": torch.cuda.Stream}),
        set_all(streams.CudaStreamVariable, {"_cpython_type": torch.cuda.Stream}),
    )
