"""Programs as users start them: torchrun, a device for each rank, a rank that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

TRAINING = """
import os, sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

local_rank = int(os.environ["LOCAL_RANK"])
torch.cuda.set_device(local_rank)
dist.init_process_group("nccl")
device = torch.device("cuda", local_rank)
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(4, 2).to(device), device_ids=[local_rank])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    optimizer.zero_grad()
    loss = model(torch.full((2, 4), float(dist.get_rank() + step), device=device)).square().mean()
    loss.backward()
    optimizer.step()
total = loss.detach().clone()
dist.all_reduce(total, dist.ReduceOp.AVG)
dist.barrier(device_ids=[local_rank])
line = f"rank {dist.get_rank()} on {model.module.weight.device} of {torch.cuda.device_count()}: {total.item():.6f}"
sys.stdout.write(line + "\\n")  # one write: both ranks share the pipe
dist.destroy_process_group()
"""


def start(program: Path, *arguments: str, on: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*on, sys.executable, *arguments, str(program)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str, str]:
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, output, errors


@pytest.fixture
def training(tmp_path: Path) -> Path:
    program = tmp_path / "train.py"
    program.write_text(TRAINING)
    return program


def test_torchrun(training: Path) -> None:
    launch = start(training, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", TORCHDEVICE_COUNT="2")
    code, output, errors = finish(launch)
    assert code == 0, errors
    lines = sorted(output.splitlines())
    assert [line.rpartition(": ")[0] for line in lines] == ["rank 0 on cuda:0 of 2", "rank 1 on cuda:1 of 2"]
    assert len({line.rpartition(": ")[2] for line in lines}) == 1


@pytest.fixture
def two_hosts() -> Iterator[list[str]]:
    """Two network namespaces, 10.77.0.1 and 10.77.0.2, each with an interface "hca0" and none that gloo would take."""

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    hosts = [f"torchdevice-{os.getpid()}-{i}" for i in range(2)]
    try:
        for host in hosts:
            ip("netns", "add", host)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    try:
        ip("link", "add", "hca0", "netns", hosts[0], "type", "veth", "peer", "name", "hca0", "netns", hosts[1])
        for i, host in enumerate(hosts, 1):
            ip("-n", host, "addr", "add", f"10.77.0.{i}/24", "dev", "hca0")
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "link", "set", "hca0", "up")
        yield hosts
    finally:
        for host in hosts:
            ip("netns", "del", host)


@pytest.mark.parametrize("interface", ["hca", "=hca0", "^lo,docker"])
def test_two_hosts(two_hosts: list[str], training: Path, interface: str) -> None:
    torchrun = [
        "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=10.77.0.1",
        "--master-port=29500",
    ]  # fmt: skip
    launches = [
        start(training, *torchrun, f"--node-rank={i}", on=["ip", "netns", "exec", host], NCCL_SOCKET_IFNAME=interface)
        for i, host in enumerate(two_hosts)
    ]
    results = [finish(launch) for launch in launches]
    assert [code for code, _, _ in results] == [0, 0], [errors for _, _, errors in results]
    lines = [output.strip() for _, output, _ in results]
    assert [line.rpartition(": ")[0] for line in lines] == ["rank 0 on cuda:0 of 1", "rank 1 on cuda:0 of 1"]
    assert len({line.rpartition(": ")[2] for line in lines}) == 1


def test_an_interface_that_is_not_there(training: Path) -> None:
    rank = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    code, _, errors = finish(start(training, NCCL_SOCKET_IFNAME="nothing", **rank))
    assert code == 1
    assert "NCCL_SOCKET_IFNAME=nothing lets none of this machine's network interfaces through: " in errors


DYING = """
import datetime, os, sys, torch, torch.distributed as dist
rank = int(os.environ["RANK"])
dist.init_process_group("nccl", init_method="file://" + os.environ["STORE"], rank=rank, world_size=2,
                        timeout=datetime.timedelta(seconds=20))
dist.all_reduce(torch.ones(2, device="cuda"))
if rank == 1:
    os._exit(7)
try:
    dist.all_reduce(torch.ones(2, device="cuda"))
except dist.DistBackendError as error:
    print(error)
"""


def test_a_dead_rank_is_an_error_for_the_others(tmp_path: Path) -> None:
    program = tmp_path / "dying.py"
    program.write_text(textwrap.dedent(DYING))
    ranks = [start(program, RANK=str(rank), STORE=str(tmp_path / "store")) for rank in range(2)]
    (code, output, errors), (dead, _, _) = [finish(process) for process in ranks]
    assert (code, dead) == (0, 7), errors
    assert output.startswith("NCCL on 'cuda' without a GPU (over gloo): ALLREDUCE failed: "), output + errors
