"""The CPU as native backend."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import RunPython

# The number of the processor that MKL's vector functions run on is a static of the function that finds it out, which
# begins by loading it: `mov kept(%rip), %eax`.
PROCESSOR = """
import ctypes, torch
library = ctypes.CDLL(f"{torch.__path__[0]}/lib/libtorch_cpu.so")
find_out = library.mkl_vml_serv_cpu_detect
begin = ctypes.cast(find_out, ctypes.c_void_p).value
code = ctypes.string_at(begin, 6)
assert code[:2] == b"\\x8b\\x05", code
kept = ctypes.c_int.from_address(begin + 6 + int.from_bytes(code[2:], "little", signed=True))
torch.ones(1, device="cuda")
print(kept.value == find_out())
"""


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch is built without MKL")
def test_mkl_knows_its_processor_before_threads_use_it(run_python: RunPython) -> None:
    assert run_python(PROCESSOR).stdout == "True\n"
