"""Inductor's code generation for cuda: its C++ generator, as for the CPU, instead of Triton's.

A generated C++ kernel takes addresses, and the address of a CUDA tensor is memory of the host. Everything else stays
CUDA's: buffers are CUDA tensors, operators without generated code are called on them and forwarded one by one, random
numbers come from CUDA's generator.

Imported together with torch._inductor.compile_fx, never before: it imports most of inductor.
"""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

import torch
from torch._inductor import async_compile, config, ir, lowering, scheduler, utils
from torch._inductor.codegen import common
from torch._inductor.codegen.common import BracesBuffer
from torch._inductor.codegen.cpp import CppKernelProxy, CppScheduling, KernelGroup
from torch._inductor.codegen.wrapper import PythonWrapperCodegen, SubgraphPythonWrapperCodegen
from torch._inductor.custom_graph_pass import CustomGraphModulePass, get_hash_for_files
from torch._inductor.virtualized import V

from torchdevice.patches.change import Undo, all_of, set_all

_HOST_DEVICES = ("cpu", "cuda")


def generate_cpp_for_cuda() -> Undo:
    """Let inductor generate C++ for graphs on cuda; returns what takes it back."""
    gpu_types = list(utils.GPU_TYPES)
    tables: list[dict[str, Any]] = [
        common.device_codegens,
        common.custom_backend_passes,
        common.custom_backend_codegen_configs,
    ]
    before = [dict(table) for table in tables]
    common.register_backend_for_device("cuda", CudaScheduling, CudaWrapper, device_custom_pass=_CacheKey())
    # Inductor's word for devices whose kernels are Triton's: what it does for these alone (padding, aligned inputs,
    # device guards, orders of loops) is no use to C++ ...
    utils.GPU_TYPES.remove("cuda")
    undo = all_of(
        # ... except for the rule that the result of a CUDA tensor and a CPU scalar is on the GPU.
        set_all(lowering, {"is_gpu": lambda device: device in gpu_types}),
        # What it does for the CPU alone, as it knows only one device for which C++ is generated.
        set_all(ir, {"is_cpu": lambda node: ir.get_device_type(node) in _HOST_DEVICES}),
        set_all(scheduler.BaseSchedulerNode, {"is_cpu": _is_on_host}),
        # A graph that names streams looks them up behind the device's guard, which others do without.
        set_all(scheduler, {"device_need_guard": _needs_guard}),
        set_all(lowering, {"use_two_step_variance": _use_two_step_variance}),
        # Processes that compile Triton's kernels are started for the first graph on cuda.
        set_all(async_compile.AsyncCompile, {"wakeup": lambda: None}),
    )

    def restore() -> None:
        undo()
        utils.GPU_TYPES[:] = gpu_types
        for table, rows in zip(tables, before, strict=True):
            table.clear()
            table.update(rows)

    return restore


class _CacheKey(CustomGraphModulePass):
    """Changes no graph; tells inductor's caches what else the code generated for cuda depends on."""

    def __call__(self, gm: torch.fx.GraphModule) -> None:
        pass

    def uuid(self) -> str:
        # Inductor itself counts the threads for graphs with CPU tensors only.
        version = importlib.metadata.version("torchdevice-ext")
        return f"torchdevice-ext {version}, {_source_hash()}, {utils.parallel_num_threads()} threads"


@functools.cache
def _source_hash() -> str:
    return get_hash_for_files((__file__,)).hex()


def _is_on_host(node: Any) -> bool:
    device = node.get_device()
    return device is not None and device.type in _HOST_DEVICES


def _names_streams() -> bool:
    return bool(V.graph.scheduler._has_multi_stream_nodes())


def _needs_guard(device: str) -> bool:
    return _names_streams() if device == "cuda" else utils.device_need_guard(device)


_lowering_use_two_step_variance = lowering.use_two_step_variance


def _use_two_step_variance(*args: Any, **kwargs: Any) -> Any:
    """Two passes over short rows, which C++ does faster than one: how short is a setting of each device's own."""
    with config.patch(unroll_reductions_threshold=config.cpp.use_two_step_variance_threshold):
        return _lowering_use_two_step_variance(*args, **kwargs)


# Note [Errors in kernels]
# A kernel checks indices that it reads from tensors, and throws. Nothing may be thrown out of a parallel region, where
# inductor's kernels for the CPU end the process. Here the first exception is kept and the loop goes on, as in other
# threads; it is thrown when the kernel is done, and becomes what indexing raises uncompiled.

_THROWING = ("TORCH_CHECK(", "throw ")


class _KernelBody(CppKernelProxy):
    """The body of a kernel's loops."""

    def gen_body(self, code: BracesBuffer | None = None) -> None:
        assert code is not None
        body = BracesBuffer()
        super().gen_body(body)
        if not any(word in body.getvalue() for word in _THROWING):
            code.splice(body)
            return
        self.kernel_group.may_throw = True
        code.writeline("try")
        with code.indent():
            code.splice(body)
        code.writeline("catch (...)")
        with code.indent():
            code.writeline("if (!failed.exchange(true)) error = std::current_exception();")


class _KernelGroup(KernelGroup):
    """The loops that become one kernel."""

    may_throw = False

    def codegen_group(self, name: str | None = None) -> str:
        self.stack.close()
        if self.may_throw:
            code = BracesBuffer()
            code.writelines(["std::atomic<bool> failed{false};", "std::exception_ptr error;"])
            code.splice(self.loops_code)
            code.writeline(_RETHROW)
            self.loops_code = code
        return super().codegen_group(name)


_RETHROW = "if (error) std::rethrow_exception(error);"


class CudaScheduling(CppScheduling):
    """Which loops become one kernel."""

    kernel_proxy_cls = _KernelBody

    def ready_to_flush(self) -> bool:
        return _names_streams() or bool(super().ready_to_flush())

    def reset_kernel_group(self) -> None:
        self.kernel_group = _KernelGroup()


class _CudaCalls(PythonWrapperCodegen):
    """How generated Python code calls kernels and allocates."""

    def make_allocation(self, name: str, device: torch.device, *args: Any, **kwargs: Any) -> str:
        line: str = super().make_allocation(name, device, *args, **kwargs)
        if device.type != "cuda":
            return line
        self.add_import_once("from torchdevice import _C as torchdevice_c")
        allocate = f"empty_strided_cuda{device.index}"
        self.add_import_once(f"{allocate} = torchdevice_c.empty_strided_on({device.index})")
        return line.replace("empty_strided_cuda(", f"{allocate}(", 1)

    def _generate_kernel_call_helper(
        self, kernel_name: str, call_args: Any, *, triton: bool = True, arg_types: Any = None, **kwargs: Any
    ) -> None:
        if triton:
            super()._generate_kernel_call_helper(kernel_name, call_args, triton=True, arg_types=arg_types, **kwargs)
            return
        # In a captured graph the call must come again at each replay. The module is spelled out, here and below: a new
        # name changes this file, and with it the key under which inductor caches generated code.
        self.add_import_once("from torchdevice.patches.inductor.runtime import capturing, captured")
        function = f"(captured({kernel_name}, {_uses(arg_types)!r}) if capturing() else {kernel_name})"
        call = self.wrap_kernel_call(function, call_args)
        if not any(_RETHROW in source for source, name in self.src_to_kernel.items() if name == kernel_name):
            self.writeline(call)
            return
        self.add_import_once("from torchdevice.patches.inductor.runtime import raise_as_uncompiled")
        self.writelines(["try:", f"    {call}", "except RuntimeError as error:", "    raise_as_uncompiled(error)"])


def _uses(arg_types: list[str]) -> str:
    """Of each argument of a kernel, given its type in C++: (w)ritten or (r)ead memory, or a (n)umber."""
    return "".join("n" if "*" not in kind else "r" if kind.startswith("const ") else "w" for kind in arg_types)


class CudaWrapper(_CudaCalls):
    """The code around the kernels of a graph on cuda."""

    @staticmethod
    def create(
        is_subgraph: bool, subgraph_name: Any, parent_wrapper: Any, partition_signatures: Any = None
    ) -> PythonWrapperCodegen:
        if is_subgraph:
            return _CudaSubgraphWrapper(subgraph_name, parent_wrapper, partition_signatures)
        return CudaWrapper()


class _CudaSubgraphWrapper(_CudaCalls, SubgraphPythonWrapperCodegen):
    """The same for a part of it: a branch, the body of a loop."""
