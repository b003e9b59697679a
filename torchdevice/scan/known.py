"""What is known to raise an error on device cuda here, from conformance/ledger.toml, which no wheel has.

`python .ci/documents.py` writes it.
"""

# ruff: noqa: E501
from __future__ import annotations

#: Public names of torch, and why they cannot work.
# <!-- known -->
CANNOT_WORK = {
    "torch.cuda.CUDAGraph.begin_capture_to_if_node": "both branches would have to be recorded, and an operator is recorded by running it",
    "torch.cuda.CUDAGraph.begin_capture_to_while_node": "both branches would have to be recorded, and an operator is recorded by running it",
    "torch.cuda.CUDAGraph.end_capture_to_conditional_node": "both branches would have to be recorded, and an operator is recorded by running it",
    "torch.cuda.CUDAGraph.get_graph_data": "describes a cudaGraph_t",
    "torch.cuda.CUDAGraph.raw_cuda_graph": "a cudaGraph_t would be used to call CUDA itself",
    "torch.cuda.CUDAGraph.raw_cuda_graph_exec": "a cudaGraph_t would be used to call CUDA itself",
    "torch.cuda.CUDAGraph.set_conditional_handle_for_current_node": "both branches would have to be recorded, and an operator is recorded by running it",
    "torch.cuda.GreenContext": "partitions the multiprocessors of a GPU through the driver",
    "torch.cuda.GreenContext.Stream": "partitions the multiprocessors of a GPU through the driver",
    "torch.cuda.GreenContext.create": "partitions the multiprocessors of a GPU through the driver",
    "torch.cuda.GreenContext.max_workqueue_concurrency": "partitions the multiprocessors of a GPU through the driver",
    "torch.cuda.GreenContext.pop_context": "partitions the multiprocessors of a GPU through the driver",
    "torch.cuda.GreenContext.set_context": "partitions the multiprocessors of a GPU through the driver",
    "torch.cuda._compile_kernel": "there is no GPU for compiled CUDA code",
    "torch.cuda.clock_rate": "asks NVIDIA's driver through nvidia-ml-py; a machine with a GPU and without that package says the same",
    "torch.cuda.current_blas_handle": "a handle would be used to call NVIDIA's own libraries",
    "torch.cuda.current_solver_handle": "a handle would be used to call NVIDIA's own libraries",
    "torch.cuda.device_memory_used": "asks NVIDIA's driver through nvidia-ml-py; a machine with a GPU and without that package says the same",
    "torch.cuda.jiterator._create_jit_fn": "there is no GPU for compiled CUDA code",
    "torch.cuda.jiterator._create_multi_output_jit_fn": "there is no GPU for compiled CUDA code",
    "torch.cuda.memory_usage": "asks NVIDIA's driver through nvidia-ml-py; a machine with a GPU and without that package says the same",
    "torch.cuda.nccl.init_rank": "connects processes through NVIDIA's NCCL",
    "torch.cuda.power_draw": "asks NVIDIA's driver through nvidia-ml-py; a machine with a GPU and without that package says the same",
    "torch.cuda.temperature": "asks NVIDIA's driver through nvidia-ml-py; a machine with a GPU and without that package says the same",
    "torch.cuda.utilization": "asks NVIDIA's driver through nvidia-ml-py; a machine with a GPU and without that package says the same",
}

#: The minors of torch that there are wheels for.
TORCH_MINORS = ((2, 12), (2, 13), (2, 14), (2, 15))
# <!-- end of known -->
