"""An operator gets one kernel for a dispatch key: the second one is refused, and activation with it."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Compile, RunPython


def test_a_second_kernel_is_refused(run_python: RunPython, compile_cpp: Compile, tmp_path: Path) -> None:
    source = Path(__file__).with_name("registrar.cpp")
    library = compile_cpp(source, tmp_path / "registrar.so", "-shared", "-fPIC")
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
