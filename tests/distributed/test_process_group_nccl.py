"""ProcessGroupNCCL: what only NCCL has, its options, sub-groups, errors and handles."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

OnRanks = Callable[..., list[Any]]
Op = dist.ReduceOp


def test_names() -> None:
    assert dist.is_nccl_available()
    assert dist.is_backend_available("nccl")
    assert torch.cuda.nccl.version() == dist.ProcessGroupNCCL.get_build_nccl_version()
    assert dist.distributed_c10d.ProcessGroupNCCL is dist.ProcessGroupNCCL
    assert dist.ProcessGroupNCCL.__module__ == "torch.distributed.distributed_c10d"
    assert dist.constants.default_pg_nccl_timeout == timedelta(minutes=10)
    assert dist.get_default_backend_for_device("cuda") == "nccl"
    assert torch._C._distributed_c10d._hash_tensors([torch.ones(3, device="cuda")]) == (
        torch._C._distributed_c10d._hash_tensors([torch.ones(3)])
    )


@pytest.mark.parametrize("before", [True, False])
def test_either_order_of_imports(run_python: Callable[..., Any], before: bool) -> None:
    first, second = "import torch, torch.distributed as dist", "import torchdevice_ext"
    run_python(
        f"""
        {first if before else second}
        {second if before else first}
        from torch.distributed import ProcessGroupNCCL, is_nccl_available
        from torch.distributed.distributed_c10d import _get_default_timeout
        assert is_nccl_available() and _get_default_timeout("nccl").seconds == 600
        assert ProcessGroupNCCL.Options().config.min_ctas == -(2**31)
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )


def test_without_torchdevice_nothing_is_offered(run_python: Callable[..., Any]) -> None:
    run_python(
        """
        import torch.distributed as dist
        assert not dist.is_nccl_available() and not hasattr(dist, 'ProcessGroupNCCL')
        """,
        TORCHDEVICE="0",
    )


def test_options() -> None:
    options = dist.ProcessGroupNCCL.Options(is_high_priority_stream=True)
    options.config.min_ctas = 2
    options.config.net_name = "Socket"
    options.group_name = "mine"
    same = copy.deepcopy(options)
    assert same.is_high_priority_stream
    assert same.config.min_ctas == 2
    assert same.config.net_name == "Socket"
    same.config.min_ctas = 3
    assert options.config.min_ctas == 2
    assert same.group_name == "mine"
    assert same.backend == "nccl"
    assert options._timeout == timedelta(minutes=10)
    assert options.split_from is None
    assert options.split_color == 0
    with pytest.raises(NotImplementedError, match="NCCLConfig.unsafe_get_ptr: torchdevice has no NCCL"):
        options.config.unsafe_get_ptr()


def group_properties(rank: int) -> None:
    group = dist.group.WORLD
    backend = group._get_backend(torch.device("cuda"))
    assert isinstance(backend, dist.ProcessGroupNCCL)
    assert backend.name() == "nccl"
    assert backend is group._get_backend(torch.device("cuda", 0))
    assert (backend.rank(), backend.size()) == (rank, 2)
    assert backend._is_initialized()
    assert backend.supports_splitting
    assert backend.supports_coalescing
    assert not backend.supports_time_estimate
    assert backend.options._timeout == timedelta(seconds=60)
    assert dist.get_backend() == "nccl"
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=50))
    assert backend.options._timeout == timedelta(seconds=50)
    assert dist.distributed_c10d._get_process_group_uid(group) == backend.uid
    before = backend._get_sequence_number_for_group()
    dist.all_reduce(torch.ones(2, device="cuda"))
    assert backend._get_sequence_number_for_group() == before + 1
    with pytest.raises(NotImplementedError, match="ProcessGroupNCCL._comm_ptr: torchdevice has no NCCL"):
        backend._comm_ptr()


def test_group_properties(on_ranks: OnRanks) -> None:
    on_ranks(group_properties)


def scaled_sums(rank: int) -> None:
    def ones(*shape: int) -> torch.Tensor:
        return torch.full(shape, rank + 1.0, device="cuda")

    half = torch.distributed._make_nccl_premul_sum(0.5)
    dist.all_reduce(x := ones(3), half)
    assert x.tolist() == [1.5] * 3
    dist.all_reduce(x := ones(3), torch.distributed._make_nccl_premul_sum(torch.tensor(2.0, device="cuda")))
    assert x.tolist() == [6.0] * 3
    dist.reduce(x := ones(2), dst=0, op=half)
    assert x.tolist() == ([1.5] * 2 if rank == 0 else [2.0] * 2)
    source = ones(4)
    dist.reduce_scatter_tensor(out := ones(2), source, half)
    assert out.tolist() == [1.5] * 2
    assert source.tolist() == [rank + 1.0] * 4
    dist.reduce_scatter(out := ones(2), [source[:2], source[2:]], half)
    assert out.tolist() == [1.5] * 2
    assert source.tolist() == [rank + 1.0] * 4
    dist.all_reduce(x := ones(3).bfloat16(), half)
    assert x.tolist() == [1.5] * 3
    dist.reduce(x := ones(2), dst=1, op=Op.AVG)
    assert x.tolist() == ([1.0] * 2 if rank == 0 else [1.5] * 2)  # only the root's tensor changes
    x = torch.tensor([rank + 2, -rank - 2], device="cuda")
    work = dist.all_reduce(x, Op.AVG, async_op=True)
    assert work.get_future().wait()[0].tolist() == [2, -2]  # as NCCL divides integers
    out = torch.zeros(1, dtype=torch.int64, device="cuda")
    with dist._coalescing_manager():
        dist.reduce_scatter_tensor(out, torch.tensor([rank, rank + 4], device="cuda"), Op.AVG)
    assert out.tolist() == [[0], [4]][rank]


def test_scaled_sums_and_averages(on_ranks: OnRanks) -> None:
    on_ranks(scaled_sums)


def uneven(rank: int) -> None:
    parts = [torch.zeros(2, device="cuda"), torch.zeros(3, device="cuda")]
    dist.all_gather(parts, torch.full((2 + rank,), rank + 1.0, device="cuda"))
    assert [x.tolist() for x in parts] == [[1.0] * 2, [2.0] * 3]
    mine = torch.zeros(2 + rank, device="cuda")
    dist.reduce_scatter(mine, [torch.ones(2, device="cuda"), torch.ones(3, device="cuda")])
    assert mine.tolist() == [2.0] * (2 + rank)
    inputs = [torch.full((rank + other,), 10.0 * rank + other, device="cuda") for other in range(2)]
    outputs = [torch.zeros(rank + other, device="cuda") for other in range(2)]
    dist.all_to_all(outputs, inputs)
    assert [x.tolist() for x in outputs] == [[10.0 * other + rank] * (rank + other) for other in range(2)]


def stacked(rank: int) -> None:
    whole = torch.zeros(2, 3, device="cuda")
    dist.all_gather_into_tensor(whole, torch.full((3,), rank + 1.0, device="cuda"))
    assert whole.tolist() == [[1.0] * 3, [2.0] * 3]


def test_gathering_into_another_shape(on_ranks: OnRanks) -> None:
    on_ranks(stacked)


def test_tensors_of_unequal_size(on_ranks: OnRanks) -> None:
    on_ranks(uneven)


def float8(rank: int) -> None:
    x = torch.tensor([1.0, 2.0, 4.0], device="cuda").mul(rank + 1).to(torch.float8_e4m3fn)
    gathered = torch.zeros(6, device="cuda").to(torch.float8_e4m3fn)
    dist.all_gather_into_tensor(gathered, x)
    assert gathered.float().tolist() == [1.0, 2.0, 4.0, 2.0, 4.0, 8.0]
    dist.broadcast(x, src=1)
    assert x.float().tolist() == [2.0, 4.0, 8.0]
    with pytest.raises(RuntimeError, match="Unsupported Float8 type for NCCL reduction"):
        dist.all_reduce(x)


def test_float8_is_moved_but_not_reduced(on_ranks: OnRanks) -> None:
    on_ranks(float8)


def refused(rank: int) -> None:
    cuda = torch.ones(4, 4, device="cuda")
    with pytest.raises(RuntimeError, match="No backend type associated with device type cpu"):
        dist.all_reduce(torch.ones(2))
    for call in (dist.all_reduce, lambda x: dist.broadcast(x, 0), lambda x: dist.all_gather([cuda, cuda], x)):
        with pytest.raises(ValueError, match="^Tensors must be contiguous$"):
            call(cuda.t()[1:])
    for op in ("BAND", "BOR", "BXOR"):
        with pytest.raises(ValueError, match=f"^Cannot use ReduceOp.{op} with NCCL$"):
            dist.all_reduce(cuda.int(), getattr(Op, op))
    with pytest.raises(TypeError, match="^Cannot use ReduceOp.AVG with boolean inputs$"):
        dist.all_reduce(cuda.bool(), Op.AVG)
    with pytest.raises(TypeError, match="^Input tensor data type is not supported for NCCL process group: Short$"):
        dist.all_reduce(cuda.short())
    with pytest.raises(ValueError, match="^output tensor size must be equal to world_size times input tensor size$"):
        dist.all_gather_into_tensor(torch.ones(3, device="cuda"), torch.ones(2, device="cuda"))
    with pytest.raises(ValueError, match="^input tensor must be the same size as output size times world size$"):
        dist.reduce_scatter_tensor(torch.ones(3, device="cuda"), torch.ones(2, device="cuda"))
    with pytest.raises(TypeError, match="^input tensor must be the same type as the output tensor.$"):
        dist.reduce_scatter_tensor(torch.ones(1, device="cuda"), torch.ones(2, device="cuda").double())
    with pytest.raises(ValueError, match="^Tensors must be CUDA and dense$"):
        dist.all_gather_into_tensor(torch.ones(4, device="cuda"), torch.ones(2))
    with pytest.raises(RuntimeError, match="does not support all_reduce with sparse tensors"):
        dist.all_reduce(torch.eye(2, device="cuda").to_sparse())
    with pytest.raises(NotImplementedError, match="ProcessGroupNCCL does not support recvAnysource"):
        dist.recv(torch.ones(2, device="cuda"))
    with pytest.raises(ValueError, match="monitored_barrier is only implemented for GLOO backend."):
        dist.monitored_barrier()
    dist.all_reduce(cuda)  # a refusal leaves nothing behind
    assert cuda.tolist() == [[2.0] * 4] * 4


def test_what_nccl_refuses(on_ranks: OnRanks) -> None:
    on_ranks(refused)


def sub_groups(rank: int) -> None:
    parent = dist.group.WORLD._get_backend(torch.device("cuda"))
    alone = [dist.new_group([0]), dist.new_group([1])][rank]
    assert parent.comm_split_count() == 2
    dist.all_reduce(x := torch.ones(2, device="cuda"), group=alone)
    assert x.tolist() == [1.0, 1.0]
    assert dist.get_backend(alone) == dist.get_backend()
    both = dist.new_group([0, 1], pg_options=dist.ProcessGroupNCCL.Options(is_high_priority_stream=True))
    dist.all_reduce(x, group=both)
    assert x.tolist() == [2.0, 2.0]
    on_gloo = dist.new_group(backend="gloo")
    dist.all_reduce(x, group=on_gloo)
    assert x.tolist() == [4.0, 4.0]
    splits = parent.comm_split_count()
    split = dist.split_group(split_ranks=[[0, 1]])
    dist.all_reduce(x, group=split)
    assert x.tolist() == [8.0, 8.0]
    assert parent.comm_split_count() == splits + 1
    child = split._get_backend(torch.device("cuda"))
    assert isinstance(child, dist.ProcessGroupNCCL)
    assert child.uid > parent.uid
    assert child.options.global_ranks_in_group == [0, 1]
    mine = dist.split_group(split_ranks=[[0], [1]])
    dist.all_reduce(x, group=mine)
    assert x.tolist() == [8.0, 8.0]
    dist.destroy_process_group(split)


def test_sub_groups(on_ranks: OnRanks) -> None:
    on_ranks(sub_groups, device="cuda:0")


def other_device(rank: int) -> None:
    with pytest.raises(dist.DistBackendError, match="not on device passed to init_process_group"):
        dist.all_reduce(torch.ones(2, device="cuda:0"))


def test_bound_device(on_ranks: OnRanks) -> None:
    on_ranks(other_device, device="cuda:1")


def handles(rank: int) -> None:
    x = torch.ones(3, device="cuda")
    work = dist.all_reduce(x, async_op=True)
    assert work.wait()
    assert work.is_completed()
    assert [y.data_ptr() for y in work.result()] == [x.data_ptr()]
    future = work.get_future()
    assert future.done()
    assert future.value()[0].is_cuda
    assert future.value()[0].tolist() == [2.0] * 3
    assert work.get_future_result().wait() == int(torch._C._distributed_c10d.WorkResult.SUCCESS)
    doubled = dist.all_reduce(x, async_op=True).get_future().then(lambda done: done.value()[0] * 2)
    assert doubled.wait().tolist() == [8.0] * 3
    assert doubled.value().is_cuda
    parts = [torch.zeros(1, device="cuda") for _ in range(2)]
    gathered = dist.all_gather(parts, x[:1], async_op=True).get_future()
    assert [y.item() for y in gathered.wait()] == [4.0, 4.0]
    assert dist.barrier(async_op=True).get_future().wait() == []
    message = dist.isend(x, 1) if rank == 0 else dist.irecv(x, 0)
    assert message.get_future().wait()[0].is_cuda
    sums = [torch.ones(2, device="cuda") for _ in range(3)]
    works = [dist.all_reduce(y, async_op=True) for y in sums]
    other = torch.ones(1000, device="cuda") * 7  # computed while the collectives run
    for work in reversed(works):
        work.wait()
    assert [y.tolist() for y in sums] == [[2.0, 2.0]] * 3
    assert other.sum().item() == 7000.0


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_handles(on_ranks: OnRanks, backend: str) -> None:
    on_ranks(handles, backend=backend)


def held_until_done(rank: int) -> None:
    work = dist.all_reduce(torch.ones(1 << 20, device="cuda"), async_op=True)  # nobody else holds the tensor
    others = [torch.zeros(1 << 20, device="cuda") for _ in range(4)]
    work.wait()
    assert work.result()[0].sum().item() == 2 << 20
    assert not any(x.any() for x in others)


def test_a_collective_holds_its_tensors(on_ranks: OnRanks) -> None:
    on_ranks(held_until_done)


def late(rank: int, store: str) -> str:
    group = dist.new_group(timeout=timedelta(seconds=1))
    text = ""
    if rank == 0:
        with pytest.raises(dist.DistBackendError) as raised:
            dist.all_reduce(torch.ones(2, device="cuda"), group=group)
        text = str(raised.value)
    dist.barrier()
    return text


def test_timeout(on_ranks: OnRanks, tmp_path: Path) -> None:
    text = on_ranks(late, os.fspath(tmp_path))[0]
    assert text.startswith("NCCL on 'cuda' without a GPU (over gloo): ALLREDUCE failed: ")
    assert "Timed out" in text


def watched(rank: int) -> None:
    dist.set_debug_level(dist.DebugLevel.DETAIL)
    try:
        for backend in ("nccl", "gloo"):
            group = dist.new_group(backend=backend)
            dist.all_reduce(x := torch.ones(2, device="cuda"), group=group)
            assert x.tolist() == [2.0, 2.0]
            with pytest.raises(RuntimeError, match="Detected mismatch between collectives on ranks"):
                dist.all_reduce(torch.ones(2 + rank, device="cuda"), group=group)
    finally:
        dist.set_debug_level(dist.DebugLevel.OFF)


def test_debug_level_detail(on_ranks: OnRanks) -> None:
    on_ranks(watched)


def captured(rank: int) -> None:
    x = torch.ones(2, device="cuda")
    with (
        pytest.raises(NotImplementedError, match="c10d::allreduce_ cannot be captured into a CUDA graph"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        dist.all_reduce(x)
    dist.all_reduce(x)
    assert x.tolist() == [2.0, 2.0]


def test_capture_is_refused(on_ranks: OnRanks) -> None:
    on_ranks(captured)


def profiled(rank: int) -> list[str]:
    with torch.profiler.profile() as profile:
        dist.all_reduce(torch.ones(2, device="cuda"))
    return [event.key for event in profile.key_averages() if "nccl" in event.key]


def test_the_profiler_sees_nccl(on_ranks: OnRanks) -> None:
    assert on_ranks(profiled) == [["nccl:all_reduce"]] * 2
