"""CUDA C++ that programs bring along meets one error that says what, why and what to do instead."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

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
