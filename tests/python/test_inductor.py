"""Names that torch._inductor and torch._dynamo import wherever CUDA is built in."""

from __future__ import annotations

import torch


def test_empty_strided_is_on_the_current_device() -> None:
    tensor = torch._C._dynamo.guards._empty_strided_cuda((2, 3), (1, 2), torch.float16)
    assert (tensor.shape, tensor.stride(), tensor.dtype) == ((2, 3), (1, 2), torch.float16)
    assert tensor.device == torch.device("cuda:0")


def test_dynamo_resets() -> None:
    """torch._dynamo.reset() imports torch._inductor.cudagraph_trees as soon as CUDA is available."""
    torch._dynamo.reset()
    from torch._inductor import cudagraph_trees

    assert cudagraph_trees.AllocatorState is torch._C._cuda_CUDAAllocator_AllocatorState
