"""DTensor on meshes of cuda devices: gloo carries what the ranks exchange."""

from __future__ import annotations

import pytest

from tests.conftest import RunPython

SETUP = """
    import os, sys, torch
    import torch.distributed as dist
    import torch.multiprocessing as mp
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_module, distribute_tensor
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    def enter(rank, ranks):
        torch.cuda.set_device(rank)
        dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=ranks)
        torch.manual_seed(0)
        return init_device_mesh("cuda", (ranks,))

    def main(work, ranks):
        if ranks == 1:
            work(0, 1)
        else:
            mp.start_processes(work, (ranks,), ranks, start_method="fork")
        print("done")
"""

WORK = {
    "placements": """
    def work(rank, ranks):
        mesh = enter(rank, ranks)
        whole = torch.arange(24.0, device="cuda").view(6, 4)
        rows = distribute_tensor(whole, mesh, [Shard(0)])
        assert rows.device.type == "cuda" and rows.to_local().device.index == rank
        assert rows.to_local().shape == (6 // ranks, 4)
        assert torch.equal(rows.full_tensor(), whole)
        assert torch.equal(rows.redistribute(placements=[Shard(1)]).full_tensor(), whole)
        total = DTensor.from_local(torch.ones(2, device="cuda"), mesh, [Partial()])
        assert total.redistribute(placements=[Replicate()]).to_local().tolist() == [ranks] * 2
    """,
    "operators": """
    def work(rank, ranks):
        mesh = enter(rank, ranks)
        whole = torch.randn(6, 4, device="cpu").cuda()
        x = distribute_tensor(whole.detach().requires_grad_(), mesh, [Shard(0)])
        y = (x @ x.t()).softmax(-1).sum()
        y.backward()
        z = whole.clone().requires_grad_()
        expected = (z @ z.t()).softmax(-1).sum()
        expected.backward()
        torch.testing.assert_close(y.full_tensor(), expected)
        torch.testing.assert_close(x.grad.full_tensor(), z.grad)
        assert x.grad.to_local().device.index == rank
    """,
    "tensor parallel": """
    def work(rank, ranks):
        mesh = enter(rank, ranks)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)).cuda()
        x = torch.randn(3, 4).cuda()
        expected = model(x)
        sharded = parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
        torch.testing.assert_close(sharded(x), expected)
        sharded(x).sum().backward()
        optimizer = torch.optim.AdamW(sharded.parameters(), lr=0.1)
        optimizer.step()
        assert sharded[0].weight.to_local().shape == (8 // ranks, 4)
        assert sharded[0].weight.device.type == "cuda"
    """,
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("ranks", [1, 2])
def test_dtensors(run_python: RunPython, tmp_path_factory: pytest.TempPathFactory, work: str, ranks: int) -> None:
    meeting = tmp_path_factory.mktemp("gloo") / "meeting"
    code = SETUP + WORK[work] + f"\n    sys.argv[1:] = [{str(meeting)!r}]\n    main(work, {ranks})\n"
    result = run_python(code, TORCHDEVICE_COUNT=str(ranks))
    assert result.stdout.strip().endswith("done")
