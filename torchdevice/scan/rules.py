"""What `torchdevice scan` looks for: one table, each rule with its verdict and what to do. docs/scan.md lists it.

A rule that has patterns is found by them alone: modules that are imported, names that are used, distributions that are
required. Those without are found by a function in checks.py, or by the reader of another kind of file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """From bad to good."""

    CANNOT = "cannot work"
    CPU = "works on the CPU only"
    DIFFERS = "works differently"
    WORKS = "works"


@dataclass(frozen=True)
class Rule:
    """One kind of thing that a program may contain; the texts are Markdown."""

    id: str
    verdict: Verdict
    title: str
    advice: str
    modules: tuple[str, ...] = ()  #: imported, or a module below one of them
    names: tuple[str, ...] = ()  #: used, or an attribute of one of them
    requirements: tuple[str, ...] = ()  #: distributions; `*` stands for any text


def _cannot(id: str, title: str, advice: str, **patterns: tuple[str, ...]) -> Rule:
    return Rule(id, Verdict.CANNOT, title, advice, **patterns)


def _cpu(id: str, title: str, advice: str, **patterns: tuple[str, ...]) -> Rule:
    return Rule(id, Verdict.CPU, title, advice, **patterns)


def _differs(id: str, title: str, advice: str, **patterns: tuple[str, ...]) -> Rule:
    return Rule(id, Verdict.DIFFERS, title, advice, **patterns)


def _works(id: str, title: str, advice: str, **patterns: tuple[str, ...]) -> Rule:
    return Rule(id, Verdict.WORKS, title, advice, **patterns)


_TORCH_CPP = "Use torch operators, or a C++ operator (`CppExtension`, `load_inline(cpp_sources=...)`)."
_WITHOUT = "Do not install it here, and import it under `try … except ImportError` with a way without it."

_CANNOT = (
    _cannot("cuda-extension", "an extension in CUDA C++ is built", _TORCH_CPP),
    _cannot("cuda-source", "a source in CUDA C++", _TORCH_CPP),
    _cannot("cuda-header", "C++ that includes CUDA's headers", "Include them under `#ifdef`, or use ATen's alone."),
    _cannot(
        "raises-here",
        "a name of torch that raises an error here",
        "Leave the call out where `torchdevice.status().active`, or catch its error.",
    ),
    _cannot(
        "cuda-library",
        "NVIDIA's libraries are loaded by `ctypes`",
        "Ask `torch.cuda`, or catch the `OSError`.",
    ),
    _cannot(
        "nvidia-smi",
        "`nvidia-smi` is run, and it is not there",
        "Ask `torch.cuda.get_device_properties()` and `torch.cuda.mem_get_info()`, or catch the error.",
    ),
    _cannot(
        "nvml",
        "NVIDIA's management library is initialised, and there is none",
        "Catch `pynvml.NVMLError`, or ask `torch.cuda`.",
        names=("pynvml.nvmlInit", "pynvml.nvmlInitWithFlags", "py3nvml.py3nvml.nvmlInit", "py3nvml.nvmlInit"),
    ),
    _cannot(
        "cupy",
        "CuPy asks NVIDIA's driver for its device",
        "Use NumPy, or torch operators.",
        modules=("cupy", "cupyx"),
        requirements=("cupy", "cupy-cuda*"),
    ),
    _cannot(
        "numba-cuda",
        "Numba compiles kernels for an NVIDIA GPU",
        "Set `NUMBA_ENABLE_CUDASIM=1` for Numba's own simulator, which takes NumPy arrays.",
        modules=("numba.cuda",),
        names=("numba.cuda",),
        requirements=("numba-cuda",),
    ),
    _cannot(
        "pycuda",
        "PyCUDA calls NVIDIA's driver",
        "Use torch operators.",
        modules=("pycuda",),
        requirements=("pycuda",),
    ),
    _cannot(
        "cuda-python",
        "CUDA Python calls NVIDIA's driver",
        "Ask `torch.cuda`.",
        modules=("cuda.bindings", "cuda.core", "cuda.cuda", "cuda.cudart", "cuda.nvrtc"),
        requirements=("cuda-python", "cuda-core"),
    ),
    _cannot(
        "flash-attn",
        "flash-attn is compiled CUDA code",
        "Use `torch.nn.functional.scaled_dot_product_attention`; in transformers `attn_implementation=\"sdpa\"`.",
        modules=("flash_attn", "flash_attn_interface", "flash_attn_2_cuda", "flashinfer", "sageattention"),
        requirements=("flash-attn", "flashinfer-python", "sageattention"),
    ),
    _cannot(
        "xformers-ops",
        "the operators of xformers are compiled CUDA code",
        "Use `torch.nn.functional.scaled_dot_product_attention`.",
        modules=("xformers.ops",),
        names=("xformers.ops",),
    ),
    _cannot(
        "apex-extension",
        "these parts of apex need its compiled CUDA code",
        "Use torch's own: `torch.optim.AdamW(fused=True)`, `torch.nn.LayerNorm`, `torch.nn.RMSNorm`.",
        modules=("apex.optimizers", "apex.contrib", "apex.multi_tensor_apply", "apex.fused_dense", "apex.mlp"),
        names=("apex.optimizers", "apex.contrib", "apex.multi_tensor_apply", "apex.fused_dense", "apex.mlp"),
    ),
    _cannot(
        "transformer-engine",
        "Transformer Engine is compiled CUDA code",
        "Use `torch.nn` modules and `torch.autocast`.",
        modules=("transformer_engine",),
        requirements=("transformer-engine", "transformer-engine-*"),
    ),
    _cannot(
        "mamba-ssm",
        "mamba-ssm and causal-conv1d are compiled CUDA code",
        f"transformers has a way without them. {_WITHOUT}",
        modules=("mamba_ssm", "causal_conv1d", "selective_scan_cuda"),
        requirements=("mamba-ssm", "causal-conv1d"),
    ),
    _cannot(
        "compiled-cuda",
        "a library of compiled CUDA code",
        _WITHOUT,
        modules=(
            "tinycudann", "nvdiffrast", "spconv", "MinkowskiEngine", "torchsparse", "deep_gemm", "deep_ep",
            "grouped_gemm", "megablocks", "exllamav2", "awq_ext",
        ),
        requirements=("spconv-cu*", "megablocks", "exllamav2", "grouped-gemm", "minkowskiengine"),
    ),
    _cannot(
        "tensorrt",
        "TensorRT runs on NVIDIA GPUs alone",
        "Use `torch.compile`, or ONNX Runtime on the CPU.",
        modules=("tensorrt", "torch_tensorrt", "torch2trt", "tensorrt_llm"),
        requirements=("tensorrt", "tensorrt-*", "torch-tensorrt", "nvidia-tensorrt"),
    ),
    _cannot(
        "rapids",
        "RAPIDS runs on NVIDIA GPUs alone",
        "Use pandas, scikit-learn or networkx.",
        modules=("cudf", "cuml", "cugraph", "cuspatial", "rmm", "cuvs"),
        requirements=("cudf-cu*", "cuml-cu*", "cugraph-cu*", "rmm-cu*", "cuvs-cu*"),
    ),
    _cannot(
        "faiss-gpu",
        "faiss on a GPU is compiled CUDA code",
        "Use `faiss-cpu`, and leave the index on the CPU.",
        names=(
            "faiss.StandardGpuResources", "faiss.index_cpu_to_gpu", "faiss.index_cpu_to_all_gpus",
            "faiss.GpuIndexFlatL2", "faiss.GpuIndexFlatIP",
        ),
        requirements=("faiss-gpu", "faiss-gpu-cu*"),
    ),
    _cannot(
        "collective-in-graph",
        "a collective inside of a CUDA graph's capture",
        "Run it outside of the capture.",
    ),
)  # fmt: skip

_CPU = (
    _cpu(
        "float64",
        "float64 and complex128, which Metal lacks",
        "Over the CPU nothing changes. On a Mac these operators run on its CPU; use float32 for speed.",
        names=(
            "torch.float64", "torch.double", "torch.complex128", "torch.cdouble", "torch.DoubleTensor",
            "torch.cuda.DoubleTensor",
        ),
    ),
    _cpu(
        "other-frameworks",
        "a framework that looks for NVIDIA's driver itself, and finds no GPU",
        "It works on the CPU. Its arrays reach torch through NumPy or DLPack.",
        modules=("jax", "tensorflow", "nvidia.dali"),
        requirements=("jax", "jaxlib", "jax-cuda*", "tensorflow", "tensorflow-gpu", "nvidia-dali-cuda*"),
    ),
    _cpu(
        "onnxruntime-cuda",
        "ONNX Runtime's CUDA provider asks NVIDIA's driver",
        "List `CPUExecutionProvider` as well.",
        requirements=("onnxruntime-gpu",),
    ),
    _cpu(
        "ahead-of-time",
        "a library compiled ahead of time for cuda would need CUDA's own",
        "Export the model on the CPU.",
        names=(
            "torch._inductor.aoti_compile_and_package", "torch._inductor.aot_compile", "torch._export.aot_compile",
        ),
    ),
)  # fmt: skip

_DIFFERS = (
    _differs(
        "bitsandbytes",
        "its CUDA part is a compiled library; its kernels for the CPU run instead",
        "Nothing; it is slower than on a GPU.",
        modules=("bitsandbytes",),
        names=("transformers.BitsAndBytesConfig", "diffusers.BitsAndBytesConfig"),
        requirements=("bitsandbytes",),
    ),
    _differs(
        "triton",
        "Triton's kernels run in its interpreter: to test them, not to be fast",
        "Keep a way in torch operators for speed. Triton has wheels for Linux only.",
        modules=("triton",),
        requirements=("triton", "pytorch-triton", "liger-kernel"),
    ),
    _differs(
        "xformers",
        "xformers without its compiled CUDA code",
        "Use `torch.nn.functional.scaled_dot_product_attention`; what is pure torch in it works.",
        modules=("xformers",),
        requirements=("xformers",),
    ),
    _differs(
        "apex",
        "apex without its compiled CUDA code",
        "Use `torch.amp`, `torch.nn.SyncBatchNorm` and `torch.nn.parallel.DistributedDataParallel`.",
        modules=("apex",),
    ),
    _differs(
        "deepspeed",
        "DeepSpeed compiles its CUDA operators when they are first used, which fails",
        "Use FSDP or an optimizer of torch; with `DS_ACCELERATOR=cpu` it stays on the CPU. Neither was tried.",
        modules=("deepspeed",),
        requirements=("deepspeed",),
    ),
    _differs(
        "nvidia-smi-in-shell",
        "`nvidia-smi` is run by a shell, which says that it is not there",
        "`python -m torchdevice info` lists the devices.",
    ),
    _differs(
        "cuda-version",
        "`torch.version.cuda` names a release of CUDA that is not there",
        "It is that of the GPU that `TORCHDEVICE_PROFILE` names, or of a CUDA build of torch.",
        names=("torch.version.cuda",),
    ),
    _differs(
        "device-facts",
        "name, capability and size of the device are the host's, or those of a profile",
        "Set `TORCHDEVICE_PROFILE`, for example to `a100`, to take the branches of that GPU.",
        names=(
            "torch.cuda.get_device_name", "torch.cuda.get_device_capability", "torch.cuda.get_device_properties",
        ),
    ),
    _differs(
        "several-devices",
        "more than one device, or another than the first",
        "Set `TORCHDEVICE_COUNT` to the number of devices.",
    ),
    _differs(
        "cuda-in-worker",
        "CUDA in a process that a DataLoader forks: an error, as on a GPU",
        "Return CPU tensors and move the batch, or set `TORCHDEVICE_FORK=allow`.",
    ),
    _differs(
        "tensor-float-32",
        "float32 products stay float32: TF32 is accepted, and changes nothing",
        "Nothing: results are more exact than on a GPU.",
        names=(
            "torch.set_float32_matmul_precision", "torch.backends.cuda.matmul.allow_tf32",
            "torch.backends.cudnn.allow_tf32", "torch.backends.cuda.matmul.fp32_precision",
        ),
    ),
    _differs(
        "compile-mode",
        "this mode of `torch.compile` is as the default",
        "Nothing: there are no launches to save and one kernel to choose from.",
    ),
    _differs(
        "flex-attention",
        "a compiled graph with `flex_attention` runs uncompiled, after one warning",
        "Use `scaled_dot_product_attention` for speed.",
        names=("torch.nn.attention.flex_attention",),
    ),
    _differs(
        "nccl",
        "NCCL's collectives run over gloo",
        "Set `TORCHDEVICE_COUNT` to the ranks of a host. It serves to test, not to train large models.",
    ),
    _differs(
        "nccl-settings",
        "settings of NCCL's watchdog change nothing",
        "Nothing: a failure is an error from `wait()`.",
    ),
    _differs(
        "symmetric-memory",
        "there is no symmetric memory and no NVSHMEM",
        "Use the collectives of `torch.distributed`.",
        modules=("torch.distributed._symmetric_memory",),
        names=("torch.distributed._symmetric_memory",),
    ),
    _differs(
        "profiled-kernels",
        "profiles have the time of operators, and no events of kernels or copies",
        "Read the operators' rows.",
        names=("torch.profiler.ProfilerActivity.CUDA",),
    ),
    _differs(
        "allocator-settings",
        "`expandable_segments` is accepted and makes none",
        "Nothing.",
    ),
    _differs(
        "torch-release",
        "another release of torch than torchdevice is for",
        "Install one that it is for; `pip install torchdevice-ext` says which.",
    ),
)  # fmt: skip

_WORKS = (
    _works("cuda", "device `cuda` and `torch.cuda`", "Nothing."),
    _works("compile", "`torch.compile`", "Nothing: it generates C++ kernels.", names=("torch.compile",)),
    _works(
        "cuda-graph",
        "CUDA graphs",
        "Nothing.",
        names=("torch.cuda.graph", "torch.cuda.CUDAGraph", "torch.cuda.make_graphed_callables"),
    ),
    _works("cpp-extension", "an extension in C++, on cuda tensors too", "Nothing."),
)  # fmt: skip

RULES = {rule.id: rule for rule in (*_CANNOT, *_CPU, *_DIFFERS, *_WORKS)}
