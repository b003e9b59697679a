"""What torch's own Python asks of torch._C is there once device cuda is, whichever release of torch this is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed

TORCH = Path(torch.__file__).parent
#: The parts of torch that work on cuda.
PARTS = (
    "_dynamo", "_inductor", "_native", "accelerator", "amp", "autograd", "backends", "cuda", "distributed",
    "multiprocessing", "nn", "optim", "profiler", "utils",
)  # fmt: skip

#: Names that are absent on purpose, as patterns: why.
LEFT_OUT = {
    r"\*|_VariableFunctions\.\*": "an import of everything",
    r".*([Xx]pu|XPU|XCCL|[Mm]ps|mtia|Mtia).*": "other accelerators",
    r"_distributed_c10d\.ProcessGroup(MPI|UCC)": "other libraries, which torch's wheels lack as well",
    r"_distributed_rpc_testing\..*": "compiled for torch's own tests alone",
    r"_CUDAGreenContext": "it divides a GPU's multiprocessors",
    r"_(Static|Fast)CudaLauncher": "it launches Triton's compiled kernels",
    r"_aoti\.AOTIModelContainerRunner.*": "a library that is compiled ahead of time needs CUDA's",
    r"_cusparselt": "torch.backends.cusparselt says that it is not there",
    r"_distributed_c10d\.(_is_nvshmem_available|_nvshmemx_cumodule_init)": "torch asks whether NVSHMEM was built in",
    r"_distributed_c10d\._(un)?register_external_nccl_comm": "there is no communicator of NCCL's to hand over",
}


def asked(source: str) -> Iterator[str]:
    """The names of torch._C that a module reads, with dots: attributes of torch._C or _C, and what it imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            if match := re.fullmatch(r"(?:torch\.)?_C\.([\w.]+)", ast.unparse(node)):
                yield match[1]
        elif isinstance(node, ast.ImportFrom) and re.match(r"torch\._C($|\.)", node.module or ""):
            yield from (f"{node.module}.{alias.name}".removeprefix("torch._C.") for alias in node.names)


def is_there(name: str) -> bool:
    owner: object = torch._C
    for part in name.split("."):
        if not hasattr(owner, part):
            return False
        owner = getattr(owner, part)
    return True


def test_how_names_are_read() -> None:
    source = "from torch._C import a\nfrom torch._C._cudart import b\nimport torch._C\ntorch._C.c(_C.d.e, other._C.f)\n"
    assert set(asked(source)) == {"a", "_cudart.b", "c", "d", "d.e"}


@pytest.mark.parametrize("part", PARTS)
def test_every_name_is_there(part: str) -> None:
    names = {name for path in (TORCH / part).rglob("*.py") for name in asked(path.read_text(encoding="utf-8"))}
    left_out = [re.compile(pattern) for pattern in LEFT_OUT]
    absent = {name for name in names if not is_there(name) and not any(one.fullmatch(name) for one in left_out)}
    assert absent == set()
