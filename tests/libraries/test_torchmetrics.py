"""torchmetrics on cuda: states live on the GPU and are summed up over processes. Its single metrics are in
`python -m torchdevice suite .../site-packages/torchmetrics`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

torchmetrics = pytest.importorskip("torchmetrics")


def test_a_collection_moves_to_the_gpu_and_is_pickled(tmp_path: Path) -> None:
    names = {"average": "macro", "num_classes": 4}
    metrics = torchmetrics.MetricCollection(
        [
            torchmetrics.classification.MulticlassAccuracy(**names),
            torchmetrics.classification.MulticlassAUROC(**names, thresholds=None),
            torchmetrics.classification.MulticlassConfusionMatrix(num_classes=4),
        ]
    )
    torch.manual_seed(0)
    scores, labels = torch.randn(32, 4), torch.randint(4, (32,))
    expected = metrics(scores, labels)
    metrics.reset()
    there = metrics.to("cuda")
    assert there["MulticlassAccuracy"].device == torch.device("cuda:0")
    there.update(scores.cuda(), labels.cuda())
    torch.save(there, tmp_path / "metrics.pt")
    again = torch.load(tmp_path / "metrics.pt", weights_only=False)
    for computed in (there.compute(), again.compute()):
        assert {value.device.type for value in computed.values()} == {"cuda"}
        torch.testing.assert_close({name: value.cpu() for name, value in computed.items()}, expected)
    with pytest.raises(RuntimeError, match="device"):
        metrics["MulticlassConfusionMatrix"].update(scores, labels)


PROGRAM = """
import os
import torch, torch.distributed as dist, torchmetrics
rank = int(os.environ["RANK"])
torch.cuda.set_device(rank)
dist.init_process_group("nccl")
mean, seen = torchmetrics.MeanMetric().cuda(), torchmetrics.CatMetric().cuda()
mean.update(torch.arange(rank + 2.0, device="cuda"))
seen.update(torch.arange(rank + 2.0, device="cuda"))
assert torch.isclose(mean.compute().cpu(), torch.tensor(4 / 5)), mean.compute()
assert seen.compute().tolist() == [0, 1, 0, 1, 2] and seen.compute().device.index == rank
dist.destroy_process_group()
"""


def test_states_are_gathered_over_nccl(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / "program.py")],
        env={**os.environ, "TORCHDEVICE_COUNT": "2", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
