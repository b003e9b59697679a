"""Programs of several processes, of which one is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.fields import assert_documented
from tests.fit.test_command import fit, write
from torchdevice.fit.gpus import GPUS
from torchdevice.fit.record import Communication
from torchdevice.fit.roofline import LATENCY, LINK_SHARE, estimate

_PROGRAM = Path(__file__).parent / "ranks_program.py"

#: Worker threads of gloo let go of a message a moment later than the rank that waited for it.
_HELD = 128 << 10


def test_peaks_are_those_of_two_real_ranks() -> None:
    dry = fit("--profile", "h100", "--ranks", "2", _PROGRAM)
    assert dry.returncode == 0, dry.stderr
    peaks = json.loads(dry.stdout.splitlines()[-1])[0]
    environment = {**os.environ, "TORCHDEVICE": "1", "TORCHDEVICE_PROFILE": "h100", "TORCHDEVICE_COUNT": "2",
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", _PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    ranks = json.loads(done.stdout.splitlines()[-1])
    for name, peak in peaks.items():
        for rank in ranks:
            assert rank[name] == pytest.approx(peak, abs=_HELD), name


_COLLECTIVES = """
import os, torch, torch.distributed as dist
print(*(os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))
dist.init_process_group()
one = torch.tensor([2.0, 3.0])
dist.all_reduce(one)
print(dist.get_backend(), torch.cuda.device_count(), one.tolist())
parts = [torch.zeros(2) for _ in range(4)]
dist.all_gather(parts, one)
print(one.tolist(), parts[3].tolist())
objects = [None] * 4
dist.all_gather_object(objects, {"rank": dist.get_rank()})
sent = ["kept"]
dist.broadcast_object_list(sent, 0)
print(objects[3], sent)
out = torch.zeros(1)
dist.reduce_scatter_tensor(out, torch.arange(4.0))
exchanged = torch.zeros(4)
dist.all_to_all_single(exchanged, torch.arange(4.0))
print(out.tolist(), exchanged.tolist())
half = dist.new_group([0, 1])
assert dist.new_group([2, 3]) == dist.GroupMember.NON_GROUP_MEMBER
x = torch.ones(1 << 20, device="cuda")
dist.all_reduce(x, group=half)
works = [dist.all_reduce(x, async_op=True), dist.all_gather_into_tensor(x.new_empty(4 << 20), x, async_op=True)]
print([work.wait() for work in works], works[0].is_completed())
dist.broadcast(x, 0)
dist.reduce_scatter_tensor(x[: 1 << 18], x)
dist.batch_isend_irecv([dist.P2POp(dist.isend, x, 1), dist.P2POp(dist.irecv, x, 1)])
from torch.distributed import _functional_collectives as functional
print(functional.all_gather_tensor(x, 0, dist.group.WORLD).shape)
dist.barrier()
torch.optim.SGD([torch.nn.Parameter(x)], lr=0.1).step()
"""
_MIB = 1 << 20


def test_collectives(tmp_path: Path) -> None:
    target = tmp_path / "fit.json"
    done = fit("--profile", "h100", "--ranks", "4", "--json", target, write(tmp_path, _COLLECTIVES))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "0 4 0 4",
        "undefined 4 [2.0, 3.0]",
        "[2.0, 3.0] [2.0, 3.0]",
        "{'rank': 0} ['kept']",
        "[0.0] [0.0, 0.0, 0.0, 0.0]",
        "[True, True] True",
        "torch.Size([4194304])",
    ]
    assert "One rank of 4 was run, and nothing was sent: each is taken to be like it." in done.stderr
    assert "link: 450 GB/s each way" in done.stderr
    data = json.loads(target.read_text())
    assert_documented("fit", data)
    assert data["ranks"] == 4
    assert {(one["operator"], one["ranks"]): (one["count"], one["sent"]) for one in data["communication"]} == {
        ("allreduce", 2): (1, 4 * _MIB),
        ("allreduce", 4): (1, 6 * _MIB),
        ("allgather_base", 4): (1, 12 * _MIB),
        ("allgather_into_tensor_coalesced", 4): (1, 12 * _MIB),
        ("broadcast", 4): (1, 4 * _MIB),
        ("reduce_scatter_base", 4): (1, 3 * _MIB),
        ("send", 4): (1, 4 * _MIB),
        ("recv", 4): (1, 4 * _MIB),
    }


def test_two_hosts(tmp_path: Path) -> None:
    code = """
import os, torch, torch.distributed as dist
dist.init_process_group("nccl")
print(os.environ["LOCAL_WORLD_SIZE"], os.environ["GROUP_WORLD_SIZE"], torch.cuda.device_count())
x = torch.ones(1 << 20, device="cuda")
dist.all_reduce(x)
dist.all_reduce(x, group=dist.new_group([0, 1]))
dist.new_group([2, 3])
"""
    target = tmp_path / "fit.json"
    program = write(tmp_path, code)
    done = fit("--profile", "a100", "--ranks", "4", "--devices", "2", "--json", target, program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 2 2\n"
    assert "6.0 MiB of it are not in the time: between hosts no rate is known" in done.stderr
    assert [one["within_host"] for one in json.loads(target.read_text())["communication"]] == [False, True]


def test_spawn(tmp_path: Path) -> None:
    code = """
import torch, torch.distributed as dist, torch.multiprocessing as mp
def work(rank, ranks):
    dist.init_process_group("nccl", init_method="tcp://127.0.0.1:29511", rank=rank, world_size=ranks)
    torch.cuda.set_device(rank)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8).cuda(), device_ids=[rank])
    model(torch.ones(2, 8, device="cuda")).sum().backward()
    print(rank, dist.get_world_size())
if __name__ == "__main__":
    mp.spawn(work, (torch.cuda.device_count(),), nprocs=torch.cuda.device_count())
"""
    done = fit("--profile", "h100", "--devices", "3", write(tmp_path, code))
    assert (done.returncode, done.stdout) == (0, "0 3\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ranks", "0", "p.py"], "must be 1 or more, got '0'"),
        (
            ["-m", "torch.distributed.run", "p.py"],
            "torch.distributed.run starts processes, of which nothing would be known",
        ),
    ],
)
def test_mistakes(arguments: list[str], told: str) -> None:
    done = fit("--profile", "h100", *arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_rank_that_is_not_known(tmp_path: Path) -> None:
    done = fit("--profile", "h100", write(tmp_path, "import torch\ntorch.distributed.init_process_group('nccl')"))
    assert done.returncode == 1
    assert "environment variable RANK expected, but not set" in done.stderr


def test_the_time_of_communication() -> None:
    sent = 9 * 10**9
    calls = [Communication("allreduce", 0, 8, True, 0, sent, count=3, in_step=1)]
    step = estimate([], GPUS["h100"], tf32=False, step=True, communication=calls)
    assert step.lower == step.communication == pytest.approx(sent / 450e9)
    assert step.upper == pytest.approx(sent / 450e9 / LINK_SHARE)
    whole = estimate([], GPUS["h100"], tf32=False, communication=calls)
    assert (whole.communication, whole.sent, whole.unknown) == (pytest.approx(3 * step.lower), 3 * sent, 0)
    small = estimate([], GPUS["h100"], tf32=False, communication=[Communication("barrier", 0, 8, True, 0, 0, count=2)])
    assert small.upper == pytest.approx(2 * LATENCY)
    unknown = estimate([], GPUS["a10g"], tf32=False, communication=calls)
    assert (unknown.lower, unknown.upper, unknown.unknown) == (0, 0, 3 * sent)
