"""What torch/_inductor/cudagraph_trees.py asks of the allocator and of storages."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conftest import RunPython

_C = torch._C


def storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def test_live_allocations_of_a_pool() -> None:
    pool = torch.cuda.MemPool()
    outside = torch.empty(10, device="cuda")
    with torch.cuda.use_mem_pool(pool):
        x, y = torch.empty(10, device="cuda"), torch.empty(1 << 20, device="cuda")
    both = {x.data_ptr(), y.data_ptr()}
    assert _C._cuda_checkPoolLiveAllocations(0, pool.id, both)
    assert not _C._cuda_checkPoolLiveAllocations(0, pool.id, {x.data_ptr()})
    assert not _C._cuda_checkPoolLiveAllocations(0, pool.id, both | {outside.data_ptr()})
    del y
    assert _C._cuda_checkPoolLiveAllocations(0, pool.id, {x.data_ptr()})
    with pytest.raises(RuntimeError, match="^Could not find pool of id"):
        _C._cuda_checkPoolLiveAllocations(0, (77, 77), set())


def test_memory_can_be_freed_under_a_storage() -> None:
    before = torch.cuda.memory_allocated()
    x = torch.empty(1000, device="cuda")
    assert _C._has_Standard_Deleter(storage(x))
    _C._free_And_Remove_DeleterFn(storage(x))
    assert torch.cuda.memory_allocated() == before
    assert not _C._has_Standard_Deleter(storage(x))
    with pytest.raises(RuntimeError, match="^Expected standard deleter"):
        _C._free_And_Remove_DeleterFn(storage(x))
    del x
    assert torch.cuda.memory_allocated() == before
    assert not _C._has_Standard_Deleter(storage(torch.empty(3)))


def test_access_can_be_forbidden() -> None:
    x = torch.empty(10, device="cuda")
    _C._set_storage_access_error_msg(x, "overwritten by a later run")
    with pytest.raises(RuntimeError, match="overwritten by a later run"):
        x.data_ptr()
    y = torch.empty(10, device="cuda")
    address = y.data_ptr()
    _C._set_storage_data_ptr_access_error_msg(storage(y), "gone")
    with pytest.raises(RuntimeError, match="gone"):
        y.data_ptr()
    _C._clear_storage_data_ptr_access_error_msg(storage(y))
    assert y.data_ptr() == address


def test_addresses_are_compared_where_asked() -> None:
    tensors: list[Any] = [torch.empty(3, device="cuda"), 5, torch.empty(4, device="cuda")]
    addresses: list[Any] = [tensors[0].data_ptr(), None, 0]
    assert _C._tensors_data_ptrs_at_indices_equal(tensors, addresses, [0])
    assert not _C._tensors_data_ptrs_at_indices_equal(tensors, addresses, [0, 2])
    assert _C._tensors_data_ptrs_at_indices_equal(tensors, addresses, [])


def test_a_tensor_from_storage_and_metadata() -> None:
    x = torch.arange(6.0, device="cuda")
    metadata = {"dtype": torch.float32, "size": (2, 2), "stride": (1, 2), "storage_offset": 1}
    y = _C._construct_CUDA_Tensor_From_Storage_And_Metadata(metadata, x.untyped_storage())
    assert y.device == x.device
    assert y.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert (y + 1).requires_grad_().sum().item() == 14.0
    assert y.data_ptr() == x.data_ptr() + 4


def test_checkpoints_say_that_they_are_missing() -> None:
    pool = torch.cuda.MemPool()
    with pytest.raises(
        NotImplementedError,
        match="^torchdevice does not checkpoint the state of private memory pools, which CUDA graph",
    ):
        _C._cuda_getCheckpointState(0, pool.id)


def test_dynamo_can_be_reset(run_python: RunPython) -> None:
    run_python("""
        import torch, torch._dynamo
        import torch._inductor.cudagraph_trees
        x = torch.ones(3, device="cuda")
        compiled = torch.compile(lambda x: x + 1, backend="eager")
        assert compiled(x).sum().item() == 6
        torch._dynamo.reset()
        assert compiled(x).sum().item() == 6
    """)
