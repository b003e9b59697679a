"""An operator gets one kernel for a dispatch key: the second one is refused, and activation with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tests.conftest import RunPython

TORCH = Path(torch.__file__).parent


def test_a_second_kernel_is_refused(run_python: RunPython, root: Path, tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    library = tmp_path / "registrar.so"
    subprocess.run(
        [
            "c++", "-std=c++20", "-O0", "-shared", "-fPIC", "-I", str(root / "csrc"), "-isystem",
            str(TORCH / "include"), str(root / "tests" / "forward" / "registrar.cpp"), "-o", str(library),
            f"-L{TORCH / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{TORCH / 'lib'}",
        ],
        check=True,
    )  # fmt: skip
    result = run_python(
        f"""
        import ctypes, torch
        register = ctypes.CDLL({str(library)!r}).register_kernel
        register.restype = ctypes.c_char_p
        print([register(b"", False), register(b"out", False), register(b"", True)])
        print(register(b"out", False).decode())
        print(register(b"", True).decode())
        """
    )
    assert result.stdout.splitlines() == [
        "[b'', b'', b'']",
        "torchdevice registers two kernels of registrar::one.out for CUDA: what csrc/aten implements must not be "
        "generated too (HANDWRITTEN in codegen/rules.py)",
        "torchdevice registers two kernels of registrar::one for SparseCUDA: what csrc/aten implements must not be "
        "generated too (HANDWRITTEN in codegen/rules.py)",
    ]
    assert result.stderr == ""
