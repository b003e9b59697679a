"""Libraries that bring kernels for an NVIDIA GPU: these give way to what works here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Compile, RunPython

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compiled CUDA code exists for Linux and Windows")


@pytest.fixture(scope="module")
def folder(compile_cpp: Compile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two libraries with the same operators: cuda.so asks for CUDA's runtime library, plain.so does not."""
    folder = tmp_path_factory.mktemp("libraries")
    runtime = folder / "libcudart.so.13"
    name = f"-Wl,-soname,{runtime.name}"
    subprocess.run(["c++", "-shared", "-fPIC", name, "-x", "c++", "/dev/null", "-o", runtime], check=True)
    source = Path(__file__).with_name("sweep.cpp")
    compile_cpp(source, folder / "plain.so", "-shared", "-fPIC")
    asks = ["-Wl,--no-as-needed", str(runtime), f"-Wl,-rpath,{folder}"]
    compile_cpp(source, folder / "cuda.so", "-shared", "-fPIC", *asks)
    return folder


USE = """
    import torch
    torch.ops.load_library({library!r})
    x = torch.ones(3, device="cuda", requires_grad=True)
    print(torch.ops.swept.double(x.detach()).tolist())
    y = torch.ops.swept.composed(x)
    print(y.tolist())
    if {differentiates}:
        y.sum().backward()
        print(x.grad.tolist(), x.grad.device)
    try:
        print(torch.ops.swept.gpu_only(x.detach()).tolist())
    except NotImplementedError as error:
        print(str(error).splitlines()[0][:60])
"""


def test_compiled_cuda_kernels_give_way(run_python: RunPython, folder: Path) -> None:
    """The CPU's kernel is forwarded to, what is composed of operators is composed again, and differentiated."""
    result = run_python(USE.format(library=str(folder / "cuda.so"), differentiates=True))
    assert result.stdout.splitlines() == [
        "[2.0, 2.0, 2.0]",
        "[2.0, 2.0, 2.0]",
        "[2.0, 2.0, 2.0] cuda:0",
        "Could not run 'swept::gpu_only' with arguments from the 'CUD",
    ]
    assert result.stderr == ""


def test_kernels_that_need_no_gpu_stay(run_python: RunPython, folder: Path) -> None:
    """Somebody wrote them for device cuda with torch's own operators: they work here as they do there."""
    result = run_python(USE.format(library=str(folder / "plain.so"), differentiates=False))
    assert result.stdout.splitlines() == ["[-1.0, -1.0, -1.0]"] * 3
    assert result.stderr == ""
