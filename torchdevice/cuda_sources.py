"""CUDA C++ that programs bring along: there is no compiler and no GPU for it, which one clear error says."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from torchdevice import _C


def _explain(what: str) -> str:
    return (
        f"{what} compiles CUDA C++ for an NVIDIA GPU, but device cuda is torchdevice's here, over the native backend "
        f"'{_C.native_backend_name()}': compiled CUDA code cannot run on it. Use torch operators instead, or a C++ "
        "operator (CppExtension, load_inline(cpp_sources=...)), which works on cuda tensors as it does on cpu tensors."
    )


def no_runtime_compiler() -> NoReturn:
    """In place of torch.cuda._utils' functions that load NVRTC and the driver."""
    raise RuntimeError(_explain("torch.cuda._compile_kernel"))


def refuse_extensions(cpp_extension: ModuleType) -> Callable[[], None]:
    """Let torch.utils.cpp_extension fail where it first asks for a CUDA toolkit; returns what takes it back.

    The error is an OSError, as torch's own for a missing toolkit: setup files that go on without one catch it.
    """
    join_cuda_home = cpp_extension._join_cuda_home

    def no_toolkit(*paths: str) -> NoReturn:
        raise OSError(_explain("torch.utils.cpp_extension (CUDAExtension, or cuda_sources of load_inline)"))

    cpp_extension._join_cuda_home = no_toolkit  # type: ignore[attr-defined]

    def restore() -> None:
        cpp_extension._join_cuda_home = join_cuda_home  # type: ignore[attr-defined]

    return restore
