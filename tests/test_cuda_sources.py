"""CUDA C++ that programs bring along meets one error that says what, why and what to do instead."""

from __future__ import annotations

import re

import pytest
import torch

from torchdevice import _C

REASON = (
    "compiles CUDA C++ for an NVIDIA GPU, but device cuda is torchdevice's here, over the native backend "
    f"'{_C.native_backend_name()}': compiled CUDA code cannot run on it. Use torch operators instead, or a C++ "
    "operator (CppExtension, load_inline(cpp_sources=...)), which works on cuda tensors as it does on cpu tensors."
)
EXTENSION = "torch.utils.cpp_extension (CUDAExtension, or cuda_sources of load_inline) " + REASON


@pytest.mark.parametrize("environment", [{"CUDA_HOME": None, "CUDA_PATH": None}, {"CUDA_HOME": "/opt/cuda"}])
def test_extensions(run_python, tmp_path, environment: dict[str, str | None]) -> None:
    (tmp_path / "a.cu").write_text("")
    process = run_python(
        f"""
        from torch.utils import cpp_extension as e
        for build in (
            lambda: e.load_inline("x", "int f();", cuda_sources="int f() {{ return 1; }}", functions=["f"],
                                  build_directory=r"{tmp_path}"),
            lambda: e.load("x", [r"{tmp_path}/a.cu"], build_directory=r"{tmp_path}"),
            lambda: e.CUDAExtension("x", ["a.cu"]),
            lambda: e.include_paths("cuda"),
        ):
            try:
                build()
            except OSError as error:
                print(error)
            else:
                print("no error")
        e.CppExtension("x", ["a.cpp"])
        """,
        **environment,
    )
    assert process.stdout.splitlines() == [EXTENSION] * 4


def test_runtime_compilation() -> None:
    with pytest.raises(RuntimeError, match=re.escape("torch.cuda._compile_kernel " + REASON)):
        torch.cuda._compile_kernel('extern "C" __global__ void f() {}', "f")


def test_green_contexts_are_not_built() -> None:
    with pytest.raises(RuntimeError, match="PyTorch was not built with Green Context support!"):
        torch.cuda.GreenContext.create(num_sms=1)
