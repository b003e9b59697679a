"""What cannot work on device cuda here, each name with its exact kind of error and the reason.

Only this file excuses a name. An entry whose call works fails the test, and so does an error of another type or text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    error: str  #: the exception's class
    text: str  #: a part of its message
    because: str


_NO_NVML = Entry(
    "ModuleNotFoundError",
    "nvidia-ml-py does not seem to be installed or it can't be imported.",
    "asks NVIDIA's driver through nvidia-ml-py; a machine with a GPU and without that package says the same",
)
_NO_HANDLE = Entry(
    "NotImplementedError", "so there is no handle to hand out", "a handle would be used to call NVIDIA's own libraries"
)
_NO_GREEN_CONTEXT = Entry(
    "RuntimeError",
    "PyTorch was not built with Green Context support!",
    "partitions the multiprocessors of a GPU through the driver",
)
_NO_COMPILER = Entry("RuntimeError", "compiles CUDA C++ for an NVIDIA GPU", "there is no GPU for compiled CUDA code")
_NO_JITERATOR = Entry(
    "NotImplementedError", "compiles CUDA C++ for an NVIDIA GPU", "there is no GPU for compiled CUDA code"
)

_NO_CONDITIONAL_NODES = Entry(
    "NotImplementedError",
    "torchdevice has no conditional nodes",
    "both branches would have to be recorded, and an operator is recorded by running it",
)
_NO_RAW_GRAPH = Entry("NotImplementedError", "has no cudaGraph_t", "a cudaGraph_t would be used to call CUDA itself")

LEDGER: dict[str, Entry] = {
    "torch.cuda.clock_rate": _NO_NVML,
    "torch.cuda.device_memory_used": _NO_NVML,
    "torch.cuda.memory_usage": _NO_NVML,
    "torch.cuda.power_draw": _NO_NVML,
    "torch.cuda.temperature": _NO_NVML,
    "torch.cuda.utilization": _NO_NVML,
    "torch.cuda.current_blas_handle": _NO_HANDLE,
    "torch.cuda.current_solver_handle": _NO_HANDLE,
    "torch.cuda.GreenContext": _NO_GREEN_CONTEXT,
    "torch.cuda.GreenContext.Stream": _NO_GREEN_CONTEXT,
    "torch.cuda.GreenContext.create": _NO_GREEN_CONTEXT,
    "torch.cuda.GreenContext.max_workqueue_concurrency": _NO_GREEN_CONTEXT,
    "torch.cuda.GreenContext.pop_context": _NO_GREEN_CONTEXT,
    "torch.cuda.GreenContext.set_context": _NO_GREEN_CONTEXT,
    "torch.cuda._compile_kernel": _NO_COMPILER,
    "torch.cuda.jiterator._create_jit_fn": _NO_JITERATOR,
    "torch.cuda.jiterator._create_multi_output_jit_fn": _NO_JITERATOR,
    "torch.cuda.CUDAGraph.begin_capture_to_if_node": _NO_CONDITIONAL_NODES,
    "torch.cuda.CUDAGraph.end_capture_to_conditional_node": _NO_CONDITIONAL_NODES,
    "torch.cuda.CUDAGraph.get_graph_data": Entry(
        "RuntimeError", "get_graph_data requires the cuda.bindings package", "describes a cudaGraph_t"
    ),
    "torch.cuda.CUDAGraph.raw_cuda_graph": _NO_RAW_GRAPH,
    "torch.cuda.CUDAGraph.raw_cuda_graph_exec": _NO_RAW_GRAPH,
    "torch.cuda.change_current_allocator": Entry(
        "RuntimeError",
        "Can't swap an already initialized allocator",
        "only works before the first use of CUDA, as on a GPU; tests/python/test_memory_pools.py does that",
    ),
    "torch.cuda.nccl.init_rank": Entry(
        "NotImplementedError", "torchdevice has no NCCL", "connects processes through NVIDIA's NCCL"
    ),
}
