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
    "torch.cuda.nccl.init_rank": Entry(
        "NotImplementedError", "torchdevice has no NCCL", "connects processes through NVIDIA's NCCL"
    ),
}

#: Names whose parts are being built at this moment (allocators and pools, graphs, IPC, communication, sparse tensors):
#: called, not judged. To be emptied.
PENDING: dict[str, str] = {
    "torch.cuda": (
        "CUDAGraph CUDAPluggableAllocator MemPool change_current_allocator graph graph_pool_handle host_memory_stats "
        "host_memory_stats_as_nested_dict make_graphed_callables reset_accumulated_host_memory_stats "
        "reset_peak_host_memory_stats use_mem_pool Event.from_ipc_handle Event.ipc_handle CUDAGraph.capture_begin "
        "CUDAGraph.capture_end CUDAGraph.debug_dump CUDAGraph.enable_debug_mode CUDAGraph.get_graph_data "
        "CUDAGraph.instantiate CUDAGraph.pool CUDAGraph.raw_cuda_graph CUDAGraph.raw_cuda_graph_exec CUDAGraph.replay "
        "CUDAGraph.reset MemPool.id MemPool.allocator MemPool.snapshot MemPool.use_count "
        "CUDAPluggableAllocator.allocator"
    ),
    "torch.cuda.comm": "broadcast broadcast_coalesced gather scatter",
    "torch.cuda.memory": "_record_memory_history",
    "torch.cuda.sparse": (
        "BFloat16Tensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor ShortTensor"
    ),
    "torch.accelerator": (
        "Graph Graph.capture_begin Graph.capture_end Graph.debug_dump Graph.enable_debug_mode Graph.instantiate "
        "Graph.pool Graph.replay Graph.reset"
    ),
}
