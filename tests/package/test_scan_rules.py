"""Each rule of `torchdevice scan`: a program that it is about, and one that comes near and is not."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from torchdevice.scan.analysis import scan
from torchdevice.scan.findings import Finding
from torchdevice.scan.rules import RULES, Verdict

#: (the rule, the file's name, what it is about, what is near and is not)
CASES = [
    (
        "cuda-extension",
        "setup.py",
        "from torch.utils.cpp_extension import CUDAExtension\nCUDAExtension('x', ['x.cu'])",
        "from torch.utils.cpp_extension import CUDA_HOME, CppExtension\nCppExtension('x', ['x.cpp'])",
    ),
    (
        "cuda-extension",
        "a.py",
        "from torch.utils import cpp_extension as e\ne.load_inline('x', cpp_sources='', cuda_sources='…')",
        "from torch.utils import cpp_extension as e\ne.load_inline('x', '…', cuda_sources=[])",
    ),
    (
        "cuda-extension",
        "a.py",
        "from torch.utils.cpp_extension import load\nload(name='x', sources=['x.cpp', 'x.cu'])",
        "from torch.utils.cpp_extension import load\nload(name='x', sources=['x.cpp'])",
    ),
    ("cuda-source", "a.cu", "__global__ void f() {}", None),
    ("cuda-source", "a.cuh", "__global__ void f() {}", "// __global__ void f() {}\nint f();"),
    ("cuda-header", "a.cpp", "#include <cuda_runtime.h>", "#include <cudanotes.h>\n/*\n#include <cuda_runtime.h>\n*/"),
    ("cuda-header", "a.h", "#ifndef A\n#define A\n#include <ATen/cuda/Any.h>\n#endif", "#include <ATen/ATen.h>"),
    (
        "raises-here",
        "a.py",
        "import torch\ng = torch.cuda.CUDAGraph()\ng.raw_cuda_graph()",
        "import torch\ng = torch.cuda.CUDAGraph()\ng.replay()\ntorch.cuda.memory.change_current_allocator(a)",
    ),
    (
        "raises-here",
        "a.py",
        "from torch import cuda\nprint(cuda.utilization())",
        "from machine import cuda\nprint(cuda.utilization())",
    ),
    (
        "cuda-library",
        "a.py",
        "import ctypes\nctypes.CDLL('libcudart.so.12')",
        "import ctypes\nctypes.CDLL('libcurl.so')\nctypes.CDLL(name)",
    ),
    (
        "nvidia-smi",
        "a.py",
        "import subprocess\nsubprocess.run(['nvidia-smi', '-L'])",
        "import subprocess, shutil\nsubprocess.run(['echo', 'nvidia-smi'])\nshutil.which('nvidia-smi')",
    ),
    (
        "nvidia-smi",
        "a.py",
        "from subprocess import check_output\ncheck_output('nvidia-smi | head', shell=True)",
        "import subprocess\nsubprocess.run('nvidia-smi | head', shell=True)",
    ),
    ("nvml", "a.py", "import pynvml\npynvml.nvmlInit()", "import pynvml\nprint(pynvml.NVMLError)"),
    ("nvml", "a.py", "from pynvml import nvmlInit\nnvmlInit()", "from mine import nvmlInit\nnvmlInit()"),
    ("cupy", "a.py", "import cupy as cp", "import numpy as cupy"),
    ("numba-cuda", "a.py", "from numba import cuda", "from numba import njit"),
    ("numba-cuda", "a.py", "import numba\n@numba.cuda.jit\ndef f(): pass", "import numba\n@numba.njit\ndef f(): pass"),
    ("pycuda", "a.py", "import pycuda.driver", "import pycudas"),
    ("cuda-python", "a.py", "from cuda import cuda", "from cuda import settings"),
    ("flash-attn", "a.py", "from flash_attn import flash_attn_func", "from .flash_attn import flash_attn_func"),
    (
        "flash-attn",
        "a.py",
        "import transformers as t\nt.AutoModel.from_pretrained('x', attn_implementation='flash_attention_2')",
        "import transformers as t\nt.AutoModel.from_pretrained('x', attn_implementation='sdpa')",
    ),
    ("xformers-ops", "a.py", "import xformers.ops as xops", "import xformers"),
    ("apex-extension", "a.py", "from apex.optimizers import FusedAdam", "from apex import amp"),
    ("transformer-engine", "a.py", "import transformer_engine.pytorch as t", "import transformer_engines"),
    ("mamba-ssm", "a.py", "from mamba_ssm import Mamba", "from transformers import MambaModel"),
    ("compiled-cuda", "a.py", "import tinycudann", "tinycudann = 1"),
    ("tensorrt", "a.py", "import torch_tensorrt", "import torch_tensor"),
    ("rapids", "requirements.txt", "cudf-cu12==25.2", "cudf-like"),
    ("faiss-gpu", "a.py", "import faiss\nfaiss.StandardGpuResources()", "import faiss\nfaiss.IndexFlatL2(4)"),
    (
        "collective-in-graph",
        "a.py",
        "import torch, torch.distributed as dist\nwith torch.cuda.graph(g):\n    dist.all_reduce(x)",
        "import torch, torch.distributed as dist\nwith torch.cuda.graph(g):\n    x = y\ndist.all_reduce(x)",
    ),
    ("float64", "a.py", "import torch\ntorch.ones(1, dtype=torch.double)", "import numpy as torch\ntorch.double"),
    ("float64", "a.py", "x = x.double()", "x = x.double(1)\nx.double"),
    ("other-frameworks", "a.py", "import jax.numpy as jnp", "import jaxtyping"),
    ("onnxruntime-cuda", "a.py", "s = Session(providers=['CUDAExecutionProvider'])", "'CUDAExecutionProvider'"),
    (
        "bitsandbytes",
        "a.py",
        "m = C.from_pretrained('x', load_in_4bit=True)",
        "m = C.from_pretrained('x', load_in_4bit=False)",
    ),
    (
        "ahead-of-time",
        "a.py",
        "import torch\ntorch._inductor.aoti_compile_and_package(e)",
        "import torch\ntorch._inductor.config",
    ),
    ("triton", "a.py", "import triton.language as tl", "import tritonclient"),
    ("xformers", "a.py", "import xformers", "import xformers.ops"),
    ("apex", "a.py", "from apex import amp", "from .apex import amp"),
    ("deepspeed", "requirements.txt", "deepspeed>=0.14", "deepspeed-mii"),
    (
        "nvidia-smi-in-shell",
        "a.py",
        "import os\nos.system('nvidia-smi')",
        "import os\nos.system('echo nvidia-smi.txt')\nrun('nvidia-smi')",
    ),
    ("cuda-version", "a.py", "import torch\nif torch.version.cuda < '12': pass", "import torch\ntorch.__version__"),
    (
        "device-facts",
        "a.py",
        "import torch\n'A100' in torch.cuda.get_device_name()",
        "import torch\ntorch.cuda.current_device()",
    ),
    ("several-devices", "a.py", "x.to('cuda:1')\n", "x.to('cuda:0')\nprint('on cuda:1')"),
    ("several-devices", "a.py", "x.cuda(1)\n", "x.cuda(0)\nx.cuda(non_blocking=True)\nx.cuda(rank)"),
    (
        "cuda-in-worker",
        "a.py",
        """
        from torch.utils.data import DataLoader, Dataset
        class Pictures(Dataset):
            def __getitem__(self, i):
                return self.x[i].cuda()
        DataLoader(Pictures(), num_workers=4)
        """,
        """
        from torch.utils.data import DataLoader, Dataset
        class Pictures(Dataset):
            def __getitem__(self, i):
                return self.x[i].cuda()
        DataLoader(Pictures(), num_workers=0)
        DataLoader(Pictures())
        """,
    ),
    (
        "cuda-in-worker",
        "a.py",
        """
        from torch.utils.data import DataLoader
        class Pictures(data.IterableDataset):
            def __iter__(self):
                yield torch.ones(1, device="cuda")
        DataLoader(Pictures(), num_workers=n)
        """,
        """
        from torch.utils.data import DataLoader
        class Pictures(data.Dataset):
            def __init__(self):
                self.x = torch.ones(1, device="cuda")
        class Net(Module):
            def __iter__(self):
                yield self.x.cuda()
        DataLoader(Pictures(), num_workers=n)
        """,
    ),
    (
        "tensor-float-32",
        "a.py",
        "import torch\ntorch.backends.cuda.matmul.allow_tf32 = True",
        "import torch\ntorch.backends.cuda.matmul",
    ),
    (
        "compile-mode",
        "a.py",
        "import torch\ntorch.compile(m, mode='max-autotune')",
        "import torch\ntorch.compile(m, mode='default')\ntorch.compile(m)",
    ),
    (
        "flex-attention",
        "a.py",
        "from torch.nn.attention.flex_attention import flex_attention as f\nf(q, k, v)",
        "from mine.flex_attention import flex_attention as f\nf(q, k, v)",
    ),
    (
        "nccl",
        "a.py",
        "import torch.distributed as dist\ndist.init_process_group('cuda:nccl,cpu:gloo')",
        "import torch.distributed as dist\ndist.init_process_group(backend='gloo')",
    ),
    (
        "nccl-settings",
        "a.py",
        "import os\nos.environ['TORCH_NCCL_BLOCKING_WAIT'] = '1'",
        "import os\nos.environ['NCCL_SOCKET_IFNAME'] = 'lo'",
    ),
    ("symmetric-memory", "a.py", "import torch.distributed._symmetric_memory as s", "import torch.distributed._tensor"),
    (
        "profiled-kernels",
        "a.py",
        "from torch.profiler import ProfilerActivity\n[ProfilerActivity.CUDA]",
        "from torch.profiler import ProfilerActivity\n[ProfilerActivity.CPU]",
    ),
    (
        "allocator-settings",
        "a.py",
        "import os\nos.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'expandable_segments:True'",
        "import os\nos.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'max_split_size_mb:64'",
    ),
    ("torch-release", "requirements.txt", "torch==1.13.1", "torch>=1.13\n"),
    ("cuda", "a.py", "x.to('cuda')", "x.to('cpu')"),
    ("compile", "a.py", "import torch\n@torch.compile\ndef f(): pass", "import re as torch\ntorch.compile('a')"),
    ("cuda-graph", "a.py", "import torch\nwith torch.cuda.graph(g): pass", "import torch\ntorch.cuda.graphs"),
    (
        "cpp-extension",
        "setup.py",
        "import torch.utils.cpp_extension as c\nc.CppExtension('x', [])",
        "c.CppExtension('x', [])",
    ),
]


def found(folder: Path, name: str, text: str) -> list[Finding]:
    (folder / name).write_text(textwrap.dedent(text))
    report = scan(str(folder / name))
    assert not report.unread
    return list(report.findings)


@pytest.mark.parametrize(("rule", "name", "about", "near"), CASES)
def test_a_rule_finds_what_it_is_about_and_nothing_near(
    tmp_path: Path, rule: str, name: str, about: str, near: str | None
) -> None:
    (finding,) = [one for one in found(tmp_path, name, about) if one.rule.id == rule]
    assert finding.guard is None
    assert finding.verdict is RULES[rule].verdict
    if near is not None:
        assert rule not in {one.rule.id for one in found(tmp_path, name, near)}


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(RULES)


def test_every_pattern_is_found(tmp_path: Path) -> None:
    """Of imports, names and requirements, whatever else is said of the same."""
    for rule in RULES.values():
        for module in rule.modules:
            assert rule.id in {one.rule.id for one in found(tmp_path, "a.py", f"import {module}")}, module
        for name in rule.names:
            text = f"import {name.partition('.')[0]}\n{name}"
            assert rule.id in {one.rule.id for one in found(tmp_path, "a.py", text)}, name
        for pattern in rule.requirements:
            text = pattern.replace("*", "12")
            assert rule.id in {one.rule.id for one in found(tmp_path, "requirements.txt", text)}, pattern


def test_the_ledger_is_what_raises(tmp_path: Path, root: Path) -> None:
    from conformance.ledger import LEDGER

    for entry in LEDGER:
        for name in entry.names:
            ids = {one.rule.id for one in found(tmp_path, "a.py", f"import torch\n{name}()")}
            assert ("raises-here" in ids) is not entry.late, name


def test_texts_of_rules() -> None:
    for rule in RULES.values():
        assert rule.title[-1] not in ".!"
        assert rule.advice.endswith(".")
        assert "|" not in rule.title + rule.advice
        assert rule.id == rule.id.lower()


@pytest.mark.parametrize("name", ["examples", "torchdevice", "benchmarks"])
def test_nothing_cannot_work_in_what_runs_here(root: Path, name: str) -> None:
    report = scan(str(root / name))
    assert report.files > 5
    assert [one for one in report.findings if one.verdict is Verdict.CANNOT] == []
    assert not report.unread
    json.dumps([one.what for one in report.findings])
