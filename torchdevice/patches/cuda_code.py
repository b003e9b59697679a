"""CUDA code that programs bring along, as C++ or compiled: nothing here can run it, which one clear error says, unless
torch has the same in other operators."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch

from torchdevice import _C
from torchdevice.patches.change import Undo, set_all

#: In an ImportError: CUDA's libraries, those of a CUDA build of torch, and functions of the latter.
_CUDA_LIBRARY = re.compile(
    r"\blib(c10_cuda|torch_cuda\w*|cuda|cudart|cublas\w*|cudnn\w*|cufft|curand|cusolver|cusparse\w*|nccl|nvrtc)\."
    r"|\b_ZNK?(3c10|2at|5torch)4cuda"
)


def _explain(what: str, instead: str) -> str:
    return (
        f"{what} for an NVIDIA GPU, but device cuda is torchdevice's here, over the native backend "
        f"'{_C.native_backend_name()}': compiled CUDA code cannot run on it. {instead}"
    )


def _explain_sources(what: str) -> str:
    return _explain(
        f"{what} compiles CUDA C++",
        "Use torch operators instead, or a C++ operator (CppExtension, load_inline(cpp_sources=...)), which works on "
        "cuda tensors as it does on cpu tensors.",
    )


def refuse_kernels() -> Undo:
    """Let torch.cuda._compile_kernel fail where it would load NVRTC or the driver; returns what takes it back."""

    def no_library() -> NoReturn:
        raise RuntimeError(_explain_sources("torch.cuda._compile_kernel"))

    return set_all(torch.cuda._utils, {"_get_nvrtc_library": no_library, "_get_cuda_library": no_library})


def refuse_extensions(cpp_extension: ModuleType) -> Undo:
    """Let torch.utils.cpp_extension fail where it first asks for a CUDA toolkit; returns what takes it back.

    The error is an OSError, as torch's own for a missing toolkit: setup files that go on without one catch it.
    """

    def no_toolkit(*paths: str) -> NoReturn:
        raise OSError(_explain_sources("torch.utils.cpp_extension (CUDAExtension, or cuda_sources of load_inline)"))

    return set_all(cpp_extension, {"_join_cuda_home": no_toolkit})


def explain_binaries() -> Undo:
    """Let extension modules that need CUDA's libraries say what to do instead; returns what takes it back.

    The error is an ImportError, as Python's own: programs that go on without such a module catch it.
    """
    create = ExtensionFileLoader.create_module

    @functools.wraps(create)
    def create_module(self: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        try:
            module = create(self, spec)
        except ImportError as error:
            if _CUDA_LIBRARY.search(str(error)) is None:
                raise
            text = _explain(
                f"{spec.name} is compiled",
                "Uninstall the package that it belongs to, so that programs take their way without it, or use torch "
                f"operators (scaled_dot_product_attention, torch.compile) instead. The loader said: {error}",
            )
            raise ImportError(text, name=spec.name, path=spec.origin) from error
        if spec.origin is not None:
            _C.sweep_after(spec.origin)
        return module

    return set_all(ExtensionFileLoader, {"create_module": create_module})


def sweep_libraries() -> Undo:
    """Let torch.ops.load_library leave no kernels for an NVIDIA GPU behind; returns what takes it back."""
    operators: Any = torch._ops._Ops
    load = operators.load_library

    @functools.wraps(load)
    def load_library(self: Any, path: Any) -> None:
        load(self, path)
        _C.sweep_after(str(path))

    return set_all(operators, {"load_library": load_library})


def let_kernels_give_way() -> Undo:
    """Let kernels for CUDA that libraries write in Python around compiled code of their own give way where that needs
    NVIDIA's libraries; returns what takes it back."""
    library: Any = torch.library.Library
    register = library.impl

    @functools.wraps(register)
    def impl(
        self: Any, op_name: Any, fn: Any, dispatch_key: str = "", *, with_keyset: bool = False, **rest: Any
    ) -> Any:
        key = dispatch_key or self.dispatch_key
        if key == "CUDA" and not with_keyset and inspect.isroutine(fn) and fn is not torch.library.fallthrough_kernel:
            name = str(getattr(op_name, "_name", op_name))  # of an OpOverload, or a text
            fn = _giving_way(name if "::" in name else f"{self.ns}::{name}", fn)
        return register(self, op_name, fn, dispatch_key, with_keyset=with_keyset, **rest)

    return set_all(library, {"impl": impl})


def _giving_way(operator: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel in Python. The first time that it fails for want of a library of NVIDIA's, ours takes its place."""
    name, _, overload = operator.partition(".")

    @functools.wraps(kernel)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return kernel(*args, **kwargs)
        except (RuntimeError, OSError) as error:
            missing = _CUDA_LIBRARY.search(str(error))
            if missing is None:
                raise
            if not _C.take_over(name, overload):
                text = _explain(
                    f"The library's kernel of {name} was compiled",
                    "It has no other kernel, so use the library on device cpu, or without this operator.",
                )
                raise NotImplementedError(text) from error
        keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
        return torch._library.utils.lookup_op(operator).redispatch(keys, *args, **kwargs)

    return run


def keep_script_unfused() -> Undo:
    """Let TorchScript run cuda's operators one by one; returns what takes it back."""
    names: Any = torch._C
    before = names._jit_can_fuse_on_gpu()
    names._jit_override_can_fuse_on_gpu(False)

    def restore() -> None:
        names._jit_override_can_fuse_on_gpu(before)

    return restore
