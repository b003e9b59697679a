"""TORCHDEVICE_PROFILE: a named GPU's properties, the branches that programs take, and that nothing contradicts.

The figures are those of NVIDIA's data sheets and white papers; they were not compared with the GPUs.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import RunPython
from torchdevice import _C

PROFILES = ["v100", "t4", "a100", "a100-40gb", "a10g", "rtx3090", "l4", "l40s", "rtx4090", "h100", "h200", "rtx5090"]

#: How programs choose between kernels, data types and libraries.
BRANCHES = {
    "flash-attention 2": "capability >= (8, 0)",
    "bf16": "torch.cuda.is_bf16_supported(including_emulation=False)",
    "tf32": "torch.cuda.is_tf32_supported()",
    "fp8": "capability >= (8, 9)",
    "Triton": "capability >= (7, 0)",
    "bitsandbytes int8": "capability >= (7, 5)",
    "flash-attention 3, Hopper": "capability[0] == 9",
    "Blackwell": "capability[0] >= 10",
    "own kernels in the wheel": "f'sm_{capability[0]}{capability[1]}' in torch.cuda.get_arch_list()",
    "CUDA 12": "torch.version.cuda.startswith('12.')",
}

TAKEN = {
    None: "flash-attention 2, bf16, tf32, Triton, bitsandbytes int8, own kernels in the wheel, CUDA 12",
    "v100": "Triton, own kernels in the wheel, CUDA 12",
    "t4": "Triton, bitsandbytes int8, own kernels in the wheel, CUDA 12",
    "a100": "flash-attention 2, bf16, tf32, Triton, bitsandbytes int8, own kernels in the wheel, CUDA 12",
    "rtx4090": "flash-attention 2, bf16, tf32, fp8, Triton, bitsandbytes int8, CUDA 12",
    "h100": "flash-attention 2, bf16, tf32, fp8, Triton, bitsandbytes int8, flash-attention 3, Hopper, "
    "own kernels in the wheel, CUDA 12",
    "rtx5090": "flash-attention 2, bf16, tf32, fp8, Triton, bitsandbytes int8, Blackwell, own kernels in the wheel",
}


def ask(run_python: RunPython, expressions: dict[str, str], profile: str | None, **environment: str) -> dict[str, Any]:
    """The values of expressions in a process under a profile; `capability` and `properties` are at hand."""
    code = f"""
        import json, warnings
        warnings.simplefilter("error")
        import torch
        torch.cuda.init()
        capability, properties = torch.cuda.get_device_capability(), torch.cuda.get_device_properties()
        print(json.dumps({{name: eval(code) for name, code in {expressions!r}.items()}}))
        """
    return json.loads(run_python(code, TORCHDEVICE_PROFILE=profile, **environment).stdout)


def test_figures_of_a_profile(run_python: RunPython) -> None:
    figures = {
        "name": "NVIDIA A100-SXM4-80GB",
        "major": 8,
        "minor": 0,
        "multi_processor_count": 108,
        "L2_cache_size": 40 * 2**20,
        "clock_rate": 1_410_000,
        "memory_clock_rate": 1_593_000,
        "memory_bus_width": 5120,
        "max_threads_per_multi_processor": 2048,
        "shared_memory_per_block": 48 * 1024,
        "shared_memory_per_block_optin": 163 * 1024,
        "shared_memory_per_multiprocessor": 164 * 1024,
        "regs_per_multiprocessor": 65536,
        "warp_size": 32,
    }
    assert ask(run_python, {field: f"properties.{field}" for field in figures}, "A100") == figures


#: What must be true of every profile; or what it must be.
AGREEMENT = {
    "name": "torch.cuda.get_device_name() == properties.name",
    "capability": "capability == (properties.major, properties.minor)",
    "versions": "[torch.version.cuda, torch._C._cuda_getCompiledVersion(), torch.backends.cudnn.version(), "
    "torch.cuda.nccl.version()]",
    "architectures": "[int(a.split('_')[1]) for a in torch.cuda.get_arch_list() if a.startswith('sm_')] "
    "== sorted(torch.cuda.PYTORCH_RELEASES_CODE_CC[torch.version.cuda]['x86_64'])",
    "gencode": "torch.cuda.get_gencode_flags().count('-gencode') == len(torch.cuda.get_arch_list())",
    "built": "torch.backends.cuda.is_built() and torch.cuda._is_compiled() and torch.backends.cudnn.is_available()",
    "config": "f'CUDA Runtime {torch.version.cuda}' in torch.__config__.show()",
    "bf16 and tf32": "torch.cuda.is_bf16_supported(False) == torch.cuda.is_tf32_supported()",
    "integrated": "properties.is_integrated",
}


def test_versions_follow_a_cuda_build(run_python: RunPython) -> None:
    """Whatever GPU the profile names: other CUDA builds compare their own with them."""
    if not _C.torch_is_cuda_build():
        pytest.skip("a CPU build of torch has no versions of CUDA to follow")
    code = "import torch; print(torch.version.cuda, torch._C._cuda_getCompiledVersion(), torch.cuda.nccl.version())"
    before = run_python(code, TORCHDEVICE="0").stdout
    for profile in (None, "t4", "h100"):
        assert run_python(code, TORCHDEVICE_PROFILE=profile).stdout == before


@pytest.mark.skipif(_C.torch_is_cuda_build(), reason="versions follow the build")
@pytest.mark.parametrize("profile", TAKEN)
def test_branches_that_programs_take_and_nothing_contradicts(run_python: RunPython, profile: str | None) -> None:
    """No warning either: torch itself compares the capability with the architectures when CUDA is initialised."""
    seen = ask(run_python, BRANCHES | AGREEMENT, profile)
    assert ", ".join(name for name in BRANCHES if seen.pop(name)) == TAKEN[profile]
    newest = ["13.0", 13000, 92000, [2, 29, 7]]
    assert seen.pop("versions") == (newest if profile == "rtx5090" else ["12.6", 12060, 91002, [2, 29, 3]])
    assert seen.pop("integrated") == (1 if profile is None else 0)
    assert all(value is True for value in seen.values()), seen


def test_the_capability_setting_wins(run_python: RunPython) -> None:
    asked = {
        "name": "properties.name",
        "capability": "capability",
        "threads": "properties.max_threads_per_multi_processor",
    }
    seen = ask(run_python, asked, "a100", TORCHDEVICE_CAPABILITY="8.6")
    assert seen == {"name": "NVIDIA A100-SXM4-80GB", "capability": [8, 6], "threads": 1536}


def test_a_capability_that_no_wheel_serves_is_in_the_list_itself(run_python: RunPython) -> None:
    """Jetson's chips: NVIDIA's own wheels for them are compiled for nothing else."""
    seen = ask(run_python, {"list": "torch.cuda.get_arch_list()"}, None, TORCHDEVICE_CAPABILITY="8.7")
    assert seen["list"][-1] == "sm_87"


def test_an_unknown_name_lists_the_known_ones(run_python: RunPython) -> None:
    process = run_python("import torch; print(torch.cuda.is_available())", TORCHDEVICE_PROFILE="b1000")
    assert process.stdout == "False\n"
    known = ", ".join(PROFILES)
    assert f"ValueError: TORCHDEVICE_PROFILE must be one of {known}, but it is 'b1000'" in process.stderr
