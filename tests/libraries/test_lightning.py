"""lightning on cuda: its Trainer and Fabric take the GPU, by precision and by strategy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning")

MODULE = """
import sys, warnings
import lightning
import torch
from torch import nn

class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))

    def training_step(self, batch, index):
        x, y = batch
        assert x.device == self.device and x.is_cuda
        loss = nn.functional.mse_loss(self.layers(x), y)
        self.log("loss", loss, sync_dist=True)
        return loss

    def validation_step(self, batch, index):
        self.log("validation", nn.functional.mse_loss(self.layers(batch[0]), batch[1]), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

def data():
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)

def train(folder, **how):
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        accelerator="gpu", max_epochs=2, default_root_dir=folder, logger=False, enable_progress_bar=False, **how
    )
    assert type(trainer.accelerator).__name__ == "CUDAAccelerator"
    model = Line()
    trainer.fit(model, data(), data())
    assert torch.isfinite(trainer.callback_metrics["validation"])
    return trainer, model
"""

PRECISIONS: dict[str, dict[str, Any]] = {
    "32": {"precision": "32-true", "gradient_clip_val": 1.0},
    "fp16": {"precision": "16-mixed", "accumulate_grad_batches": 2},
    "bf16": {"precision": "bf16-mixed", "callbacks": "[lightning.pytorch.callbacks.DeviceStatsMonitor()]"},
    "bf16-true": {"precision": "bf16-true", "benchmark": True},
    "64": {"precision": "64-true", "deterministic": True},
}


def call(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value if name == 'callbacks' else repr(value)}" for name, value in settings.items())


@pytest.mark.parametrize("kind", PRECISIONS)
def test_precisions(kind: str, run_python: Any, tmp_path: Path) -> None:
    settings = dict(PRECISIONS[kind])
    logger = "lightning.pytorch.loggers.CSVLogger(sys.argv[-1])" if "callbacks" in settings else "False"
    program = MODULE.replace("logger=False", f"logger={logger}").replace("sys.argv[-1]", repr(str(tmp_path)))
    run_python(f"{program}\ntrain({str(tmp_path)!r}, devices=1, {call(settings)})\n")


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork", "fsdp"])
def test_two_devices(strategy: str, tmp_path: Path) -> None:
    program = f"{MODULE}\nif __name__ == '__main__':\n    train({str(tmp_path)!r}, devices=2, strategy={strategy!r})\n"
    (tmp_path / "program.py").write_text(program)
    process = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env={**os.environ, "TORCHDEVICE_COUNT": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert "distributed_backend=nccl" in process.stderr
