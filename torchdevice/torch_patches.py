"""Every change that torchdevice makes to torch's Python side, and one to Python's loader of compiled modules: each
with its reason, and each undoable.

torch's own torch/cuda/*.py runs unmodified on the names that the extension supplies on torch._C. What remains is here:
values that torch computed while it was imported, before those names existed, and three branches that a CPU build of
torch compiles out. `apply` makes the changes, `undo` takes them back in reverse order.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from multiprocessing import reduction
from types import ModuleType
from typing import Any, NamedTuple

Undo = Callable[[], None]


class Patch(NamedTuple):
    """One change of torch: `apply` makes it and returns what takes it back."""

    target: str
    reason: str
    apply: Callable[[], Undo]


_undo_stack: list[Undo] = []


def apply() -> None:
    """Make every change, once; all or nothing.

    Raises:
        Exception: whatever a change raised; the changes before it have been taken back.
    """
    if _undo_stack:
        return
    try:
        for patch in patches():
            _undo_stack.append(patch.apply())
    except BaseException:
        undo()
        raise


def undo() -> None:
    """Take every change back, the last one first."""
    while _undo_stack:
        _undo_stack.pop()()


def patches() -> Iterator[Patch]:
    """The changes, in the order in which they are made."""
    import torch
    import torch.cuda

    from torchdevice import _C, compile, cuda_sources, profiler, triton_kernels
    from torchdevice.on_import import when_imported

    cuda = torch.cuda
    names: Any = torch._C  # torch's stub does not list all of them
    yield Patch(
        "torch._C._has_cuda",
        "torch.backends.cuda.is_built() and torch.cuda.Stream ask it",
        lambda: _set(torch._C, "_has_cuda", True),
    )
    yield Patch(
        "torch._C._has_magma, torch.cuda.has_magma",
        "programs and test suites ask it before they use torch.linalg on cuda; torch computed it while it was imported",
        lambda: _both(_set(torch._C, "_has_magma", True), _set(cuda, "has_magma", True)),
    )
    yield Patch(
        "torch.version.cuda",
        "programs split and compare it wherever CUDA is available",
        lambda: _set(torch.version, "cuda", _C.cuda_version()),
    )
    yield Patch(
        "torch._C._has_cudnn",
        "programs refuse to run, or switch benchmark and deterministic flags, by torch.backends.cudnn.is_available()",
        lambda: _set(torch._C, "_has_cudnn", True),
    )
    yield Patch(
        "torch.backends.cudnn",
        "it defined version() and benchmark_limit by whether torch._C._cudnn existed",
        _rerun_cudnn,
    )
    yield Patch(
        "torch.backends.cudnn.rnn._cudnn",
        "it took None, as torch._C._cudnn did not exist",
        lambda: _set(sys.modules["torch.backends.cudnn.rnn"].m, "_cudnn", names._cudnn),
    )
    yield Patch(
        "torch.cuda.streams, graphs, memory",
        "they took placeholders of torch._C's classes and functions as bases and globals",
        lambda: _reload([cuda.streams, cuda.graphs, cuda.memory]),
    )
    yield Patch(
        "torch.cuda's names from those modules",
        "it imported them by name",
        lambda: set_all(cuda, _reimported_names(cuda)),
    )
    yield Patch(
        "torch.cuda's names from torch._C",
        "it looked them up by name",
        lambda: set_all(
            cuda,
            {
                "_cudart": names._cudart,
                "_is_in_bad_fork": names._cuda_isInBadFork,
                "_CudaDeviceProperties": names._CudaDeviceProperties,
                "_exchange_device": names._cuda_exchangeDevice,
                "_maybe_exchange_device": names._cuda_maybeExchangeDevice,
            },
        ),
    )
    yield Patch(
        "torch.cuda.nvtx._nvtx",
        "it took a stub that raises, as torch._C._nvtx did not exist",
        lambda: _set(cuda.nvtx, "_nvtx", torch._C._nvtx),
    )
    yield Patch(
        "torch.cuda._raw_device_count_nvml, _raw_device_uuid_nvml",
        "before CUDA is initialised device_count() asks NVIDIA's management library, which, where a driver is "
        "installed, knows of GPUs that are not ours",
        lambda: set_all(
            cuda, {"_raw_device_count_nvml": _C.configured_device_count, "_raw_device_uuid_nvml": _C.device_uuids}
        ),
    )
    yield Patch(
        "torch.profiler.supported_activities, _KinetoProfile.__init__",
        "without CUPTI torch neither offers ProfilerActivity.CUDA nor takes it without the CPU's",
        lambda: profiler.offer_cuda_activity(sys.modules["torch.profiler.profiler"]),
    )
    yield Patch(
        "torch.cuda._utils._get_nvrtc_library, _get_cuda_library",
        "torch.cuda._compile_kernel would say that a library is missing, or compile code that nothing can run",
        lambda: set_all(
            cuda._utils,
            {
                "_get_nvrtc_library": cuda_sources.no_runtime_compiler,
                "_get_cuda_library": cuda_sources.no_runtime_compiler,
            },
        ),
    )
    yield Patch(
        "torch.utils.cpp_extension._join_cuda_home, once it is imported",
        "CUDA extensions would ask for CUDA_HOME, or link against libraries that a CPU build of torch lacks",
        lambda: when_imported("torch.utils.cpp_extension", cuda_sources.refuse_extensions),
    )
    yield Patch(
        "importlib.machinery.ExtensionFileLoader.create_module",
        "wheels with compiled CUDA code would only say that libcudart.so or a symbol is missing",
        cuda_sources.explain_binaries,
    )
    yield Patch(
        "torch._inductor.config's values, once it is imported",
        "they say that Triton generates cuda's kernels, and that a GPU with a capability of 7.0 or more can run them",
        lambda: when_imported("torch._inductor.config", compile.configure),
    )
    yield Patch(
        "torch._inductor.compile_fx.compile_fx and what torchdevice/inductor.py lists, once it is imported",
        "torch.compile's default backend generates Triton's kernels for graphs on cuda, which need an NVIDIA GPU",
        lambda: when_imported("torch._inductor.compile_fx", compile.serve_cuda_graphs),
    )
    yield Patch(
        "torch._dynamo.backends.cudagraphs.cudagraphs, once it is imported",
        "trees of CUDA graphs checkpoint the state of private pools; what graphs save, launches, costs nothing here",
        lambda: when_imported("torch._dynamo.backends.cudagraphs", compile.call_without_graphs),
    )
    yield Patch(
        "triton.knobs.runtime.interpret, once it is imported",
        "Triton would compile kernels for an NVIDIA GPU; its interpreter runs them here",
        lambda: when_imported("triton.knobs", triton_kernels.interpret),
    )
    yield Patch(
        "triton.runtime.interpreter.GridExecutor.__call__, once it and torch._dynamo are imported",
        "torch.compile would trace Triton's interpreter",
        lambda: when_imported("torch._dynamo", triton_kernels.break_graphs),
    )
    yield Patch(
        "triton.runtime.driver, once it is imported",
        "it would load NVIDIA's library to answer which device is current and what it is",
        lambda: when_imported("triton.runtime.driver", triton_kernels.answer_for_driver),
    )
    yield Patch(
        "multiprocessing's reducer of torch.cuda.Event",
        "torch.multiprocessing registered it for the placeholder class",
        _register_event_reducer,
    )
    yield Patch(
        "torch.UntypedStorage.__new__ and resize_",
        "a CPU build of torch compiles out their branch for device cuda",
        lambda: _call(_C.install_storages, _C.uninstall_storages),
    )
    yield Patch(
        "torch.UntypedStorage._share_cuda_, _new_shared_cuda, _release_ipc_counter_cuda",
        "a CPU build of torch compiles out the bodies of what torch.multiprocessing sends CUDA tensors with",
        lambda: set_all(
            torch.UntypedStorage,
            {
                "_share_cuda_": _C.share_cuda,
                "_new_shared_cuda": _C.new_shared_cuda,
                "_release_ipc_counter_cuda": _C.release_ipc_counter_cuda,
            },
        ),
    )
    yield Patch(
        "tp_new of torch.cuda.FloatTensor and the other CUDA tensor types",
        "a CPU build of torch refuses to call them",
        lambda: _call(_C.install_tensor_types, _C.uninstall_tensor_types),
    )
    yield Patch(
        "torch._C._set_default_tensor_type",
        "a CPU build of torch refuses CUDA tensor types",
        lambda: _set(torch._C, "_set_default_tensor_type", _C.set_default_tensor_type),
    )
    yield Patch(
        "torch._C._can_use_flash_attention and its like",
        "a CPU build of torch answers no to torch.backends.cuda.can_use_flash_attention() whatever the arguments",
        lambda: set_all(
            torch._C,
            {
                "_is_flash_attention_available": lambda: True,
                "_can_use_flash_attention": _C.can_use_flash_attention,
                "_can_use_mem_efficient_attention": _C.can_use_mem_efficient_attention,
                "_can_use_cudnn_attention": _C.can_use_cudnn_attention,
            },
        ),
    )
    yield Patch(
        "torch._C._select_conv_backend, _conv_determine_backend_memory_format",
        "asked about fake tensors on cuda they answer as a build without cuDNN: graphs would expect other strides than "
        "those of the native convolutions",
        lambda: set_all(
            torch._C,
            {
                name: _asked_about_native_tensors(getattr(torch._C, name))
                for name in ("_select_conv_backend", "_conv_determine_backend_memory_format")
            },
        ),
    )
    yield Patch(
        "torch._native.common_utils.check_native_jit_disabled",
        "where Triton or CuTe are installed, torch has kernels in them take the place of some of device cuda's",
        lambda: when_imported(
            "torch._native.common_utils", lambda module: _set(module, "check_native_jit_disabled", lambda: True)
        ),
    )
    if torch.distributed.is_available() and torch.distributed.is_gloo_available():
        yield Patch(
            "torch.distributed's ProcessGroupNCCL, is_nccl_available() and default timeout of nccl",
            "torch.distributed looked for them while `import torch` imported it",
            _offer_nccl,
        )
        yield Patch(
            "torch.distributed.ProcessGroupGloo's collectives",
            "called on the object itself, a CPU build's gloo dereferences CUDA tensors and crashes",
            lambda: set_all(torch.distributed.ProcessGroupGloo, _C.gloo_methods()),
        )
    if "torch._dynamo.device_interface" in sys.modules:
        yield Patch(
            "torch._dynamo's CUDA streams and events",
            "torch._dynamo was imported before torchdevice and took the placeholder classes",
            _refresh_dynamo,
        )


def _set(owner: Any, name: str, value: Any) -> Undo:
    return set_all(owner, {name: value})


_ABSENT = object()


def set_all(owner: Any, values: dict[str, Any]) -> Undo:
    """Set attributes of `owner`; returns what gives it back the ones that it had."""
    before = {name: getattr(owner, name, _ABSENT) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)

    def restore() -> None:
        for name, value in before.items():
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)

    return restore


def _call(do: Callable[[], None], take_back: Callable[[], None]) -> Undo:
    do()
    return take_back


def _both(first: Undo, second: Undo) -> Undo:
    def restore() -> None:
        second()
        first()

    return restore


def _reload(modules: list[ModuleType]) -> Undo:
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


def _rerun_cudnn() -> Undo:
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


def _reimported_names(cuda: ModuleType) -> dict[str, Any]:
    """torch.cuda's names whose objects the reload made anew, with the new objects."""
    names = {name: getattr(cuda.streams, name) for name in ("Stream", "ExternalStream", "Event")}
    names["_use_uvm"] = cuda.memory._use_uvm
    for module in (cuda.graphs, cuda.memory):
        names.update({name: getattr(module, name) for name in module.__all__ if hasattr(cuda, name)})
    return names


def _asked_about_native_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    from torchdevice import _C

    def native(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.device.type != "cuda":
            return value
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=_C.native_backend_name())

    @functools.wraps(function)
    def ask(*args: Any, **kwargs: Any) -> Any:
        return function(*map(native, args), **{name: native(value) for name, value in kwargs.items()})

    return ask


def _offer_nccl() -> Undo:
    import torch
    import torch.distributed as dist
    from torch.distributed import constants, distributed_c10d

    c10d: Any = torch._C._distributed_c10d
    group, timeout = c10d.ProcessGroupNCCL, c10d._DEFAULT_PG_NCCL_TIMEOUT
    group.__module__ = distributed_c10d.__name__  # as torch does
    undos = [
        _set(dist, "ProcessGroupNCCL", group),
        _set(constants, "default_pg_nccl_timeout", timeout),
        set_all(
            distributed_c10d,
            {
                "ProcessGroupNCCL": group,
                "_NCCL_AVAILABLE": True,
                "default_pg_nccl_timeout": timeout,
                "__all__": [*distributed_c10d.__all__, "ProcessGroupNCCL"],
            },
        ),
    ]

    def restore() -> None:
        for take_back in reversed(undos):
            take_back()

    return restore


def _register_event_reducer() -> Undo:
    import torch.multiprocessing.reductions as reductions

    event = sys.modules["torch.cuda"].Event
    reduction.register(event, reductions.reduce_event)

    def restore() -> None:
        reduction.ForkingPickler._extra_reducers.pop(event, None)  # type: ignore[attr-defined]

    return restore


def _refresh_dynamo() -> Undo:
    import torch
    from torch._dynamo import device_interface
    from torch._dynamo.variables import streams

    undos = [
        _set(device_interface, "get_cuda_stream", torch._C._cuda_getCurrentRawStream),
        set_all(device_interface.CudaInterface, {"Event": torch.cuda.Event, "Stream": torch.cuda.Stream}),
        _set(streams.CudaStreamVariable, "_cpython_type", torch.cuda.Stream),
    ]

    def restore() -> None:
        for take_back in reversed(undos):
            take_back()

    return restore
