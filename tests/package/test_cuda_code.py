"""CUDA C++ that programs bring along meets one error that says what, why and what to do instead."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import RunPython
from torchdevice import _C

REASON = (
    "compiles CUDA C++ for an NVIDIA GPU, but device cuda is torchdevice's here, over the native backend "
    f"'{_C.native_backend_name()}': compiled CUDA code cannot run on it. Use torch operators instead, or a C++ "
    "operator (CppExtension, load_inline(cpp_sources=...)), which works on cuda tensors as it does on cpu tensors."
)
EXTENSION = "torch.utils.cpp_extension (CUDAExtension, or cuda_sources of load_inline) " + REASON


@pytest.mark.parametrize("environment", [{"CUDA_HOME": None, "CUDA_PATH": None}, {"CUDA_HOME": "/opt/cuda"}])
def test_extensions(run_python: RunPython, tmp_path: Path, environment: dict[str, str | None]) -> None:
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


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs a C compiler and ELF")
@pytest.mark.parametrize(
    ("needs", "function", "loader"),
    [
        ("libcudart.so.12", "cudaFree", "libcudart.so.12: cannot open shared object file: No such file or directory"),
        (None, "_ZN3c104cuda9SetDeviceEa", "undefined symbol: _ZN3c104cuda9SetDeviceEa"),
        (None, "something_else", None),
    ],
)
def test_binaries(
    tmp_path: Path, needs: str | None, function: str, loader: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, library, name = tmp_path / "a.c", tmp_path / str(needs), f"compiled_{function}"
    cc = ["cc", "-shared", "-fPIC", "-nostdlib"]
    if needs is not None:
        source.write_text(f"void {function}(void) {{}}")
        subprocess.run([*cc, source, f"-Wl,-soname,{needs}", "-o", library], check=True)
    source.write_text(f"void {function}(void); void *PyInit_{name}(void) {{ {function}(); return 0; }}")
    subprocess.run([*cc, source, *([library] if needs else []), "-o", tmp_path / f"{name}.so"], check=True)
    library.unlink(missing_ok=True)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as raised:
        importlib.import_module(name)
    assert raised.value.path == str(tmp_path / f"{name}.so")
    if loader is None:
        assert "torchdevice" not in str(raised.value)
    else:
        start, end = str(raised.value).split("The loader said: ")
        assert start.startswith(f"{name} is compiled for an NVIDIA GPU, but device cuda is torchdevice's here")
        assert "Uninstall the package that it belongs to" in start
        assert end.endswith(loader)


def test_runtime_compilation() -> None:
    with pytest.raises(RuntimeError, match=re.escape("torch.cuda._compile_kernel " + REASON)):
        torch.cuda._compile_kernel('extern "C" __global__ void f() {}', "f")


def test_green_contexts_are_not_built() -> None:
    text = "Green Context requires user mode driver 12.8+"  # what a CUDA build finds missing first
    if not _C.torch_is_cuda_build():
        text = "PyTorch was not built with Green Context support!"
    with pytest.raises(RuntimeError, match=re.escape(text)):
        torch.cuda.GreenContext.create(num_sms=1)


MISSING = "libcudart.so.12: cannot open shared object file: No such file or directory"


def library_of(name: str, **kernels: Callable[..., Any]) -> Any:
    """A library with one operator, and kernels in Python by dispatch key."""
    library = torch.library.Library(name, "DEF")
    library.define("scale(Tensor x, float factor) -> Tensor")
    library.define("scale_(Tensor(a!) x, float factor) -> Tensor(a!)")
    for key, kernel in kernels.items():
        library.impl("scale", kernel, key)
        library.impl("scale_", lambda x, factor, kernel=kernel: x.copy_(kernel(x, factor)), key)
    return library


def needs_nvidia(x: torch.Tensor, factor: float) -> torch.Tensor:
    raise OSError(MISSING)


def test_kernels_in_python_give_way_to_the_cpus() -> None:
    seen = []

    def on_cpu(x: torch.Tensor, factor: float) -> torch.Tensor:
        seen.append(x.device.type)
        return x * factor

    library = library_of("needs_nvidia_1", CUDA=needs_nvidia, CPU=on_cpu)
    x = torch.ones(3, device="cuda")
    for _ in range(2):
        y = torch.ops.needs_nvidia_1.scale(x, 2.0)
        assert y.device == x.device
        assert y.tolist() == [2.0] * 3
    if _C.native_backend_name() == "cpu":
        assert seen == ["cpu", "cpu"]
    assert torch.ops.needs_nvidia_1.scale_(x, 3.0) is x
    assert x.tolist() == [3.0] * 3
    del library


def test_kernels_in_python_give_way_to_composed_ones() -> None:
    library = library_of("needs_nvidia_2", CUDA=needs_nvidia, CompositeExplicitAutograd=lambda x, factor: x * factor)
    assert torch.ops.needs_nvidia_2.scale(torch.ones(3, device="cuda"), 2.0).tolist() == [2.0] * 3
    del library


def test_kernels_in_python_that_work_stay() -> None:
    library = library_of("needs_nothing", CUDA=lambda x, factor: x * factor + 1, CPU=lambda x, factor: x * factor)
    assert torch.ops.needs_nothing.scale(torch.ones(3, device="cuda"), 2.0).tolist() == [3.0] * 3
    del library


def test_other_errors_of_kernels_in_python_are_the_users() -> None:
    def fails(x: torch.Tensor, factor: float) -> torch.Tensor:
        raise RuntimeError("wrong shape")

    library = library_of("needs_a_shape", CUDA=fails, CPU=lambda x, factor: x)
    with pytest.raises(RuntimeError, match="^wrong shape$"):
        torch.ops.needs_a_shape.scale(torch.ones(3, device="cuda"), 2.0)
    del library


def test_a_kernel_in_python_without_another() -> None:
    library = library_of("needs_nvidia_3", CUDA=needs_nvidia)
    with pytest.raises(NotImplementedError) as caught:
        torch.ops.needs_nvidia_3.scale(torch.ones(3, device="cuda"), 2.0)
    assert str(caught.value) == (
        "The library's kernel of needs_nvidia_3::scale was compiled for an NVIDIA GPU, but device cuda is "
        f"torchdevice's here, over the native backend '{_C.native_backend_name()}': compiled CUDA code cannot run on "
        "it. It has no other kernel, so use the library on device cpu, or without this operator."
    )
    assert isinstance(caught.value.__cause__, OSError)
    del library
