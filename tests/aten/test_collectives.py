"""torch.distributed's gloo collectives on cuda tensors: two processes, no copies, no crash."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

PROGRAM = textwrap.dedent(
    """
    import os, sys, torch, torch.distributed as dist
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)

    x = torch.full((3,), rank + 1.0, device="cuda")
    address = x.data_ptr()
    dist.all_reduce(x)
    assert x.tolist() == [3.0] * 3 and x.data_ptr() == address and x.is_cuda

    y = torch.full((2,), float(rank), device="cuda")
    dist.broadcast(y, src=1)
    assert y.tolist() == [1.0, 1.0]

    parts = [torch.zeros(1, device="cuda") for _ in range(2)]
    dist.all_gather(parts, torch.tensor([float(rank)], device="cuda"))
    assert [part.item() for part in parts] == [0.0, 1.0]

    work = dist.all_reduce(z := torch.ones(1000, device="cuda"), async_op=True)
    other = torch.ones(1000, device="cuda") * 7  # forwarded while the collective runs
    work.wait()
    assert z.sum().item() == 2000.0 and other.sum().item() == 7000.0

    if rank == 0:
        dist.send(torch.arange(4.0, device="cuda"), dst=1)
    else:
        received = torch.zeros(4, device="cuda")
        dist.recv(received, src=0)
        assert received.tolist() == [0.0, 1.0, 2.0, 3.0]

    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1).cuda())
    model(torch.full((2, 4), rank + 1.0, device="cuda")).sum().backward()
    assert model.module.weight.grad.tolist() == [[3.0] * 4]
    for _ in range(3):  # from its second iteration on the reducer asks its timer
        model(torch.ones(2, 4, device="cuda")).sum().backward()
    times = model._get_ddp_logging_data()
    assert 0 < times["backward_compute_time"] < 60e9 and times["forward_compute_time"] > 0  # nanoseconds
    dist.barrier()
    dist.destroy_process_group()
    print("done", rank)
    """
)


def test_two_processes(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(tmp_path / "store")],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(processes):
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output == f"done {rank}\n"
