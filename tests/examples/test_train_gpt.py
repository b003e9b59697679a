"""examples/train_gpt.py: the same numbers on every device, faithful resume, clear errors."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gpt
import pytest
import torch
import train_gpt
from train_gpt import Options, Trainer, UsageError, train

# The device under test; "cpu" checks the tests themselves on a machine without torchdevice.
DEVICE = os.environ.get("TRAIN_GPT_DEVICE", "cuda")


def tiny(out: Path, **changes: Any) -> Options:
    """A run of a few seconds."""
    settings: dict[str, Any] = {
        "device": DEVICE,
        "dtype": "fp32",
        "steps": 20,
        "batch_size": 4,
        "context": 32,
        "layers": 2,
        "heads": 2,
        "width": 32,
        "validate_every": 10,
        "sample_bytes": 20,
        "out": out,
    }
    return Options(**(settings | changes))


def test_devices_agree(tmp_path: Path) -> None:
    reference = train(tiny(tmp_path / "cpu", device="cpu", steps=50, accumulate=2))
    metrics = train(tiny(tmp_path / DEVICE, steps=50, accumulate=2))
    assert len(metrics["losses"]) == 50
    assert metrics["losses"] == pytest.approx(reference["losses"], rel=0, abs=1e-4)
    for (step, loss), (reference_step, reference_loss) in zip(
        metrics["validation_losses"], reference["validation_losses"], strict=True
    ):
        assert step == reference_step
        assert loss == pytest.approx(reference_loss, rel=0, abs=1e-4)


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    split = Trainer(tiny(tmp_path, batch_size=2, accumulate=4))
    whole = Trainer(tiny(tmp_path, batch_size=8))
    assert [split.step() for _ in range(10)] == pytest.approx([whole.step() for _ in range(10)], rel=0, abs=1e-4)


class KilledError(Exception):
    """Stands for the end of a job at a bad moment."""


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_resume_continues_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    # Dropout makes the losses depend on the device's random numbers as well.
    settings = {"dtype": dtype, "dropout": 0.2}
    whole = train(tiny(tmp_path / "whole", **settings))

    save = Trainer.save

    def save_then_die(self: Trainer, path: Path) -> None:
        save(self, path)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", save_then_die)
        with pytest.raises(KilledError):
            train(tiny(tmp_path / "parts", **settings))
    torch.manual_seed(123)  # what the resumed run draws must come from the checkpoint
    resumed = train(tiny(tmp_path / "parts", resume=tmp_path / "parts" / "checkpoint.pt", **settings))

    assert len(resumed["step_seconds"]) == 10
    assert resumed["losses"] == whole["losses"]
    assert resumed["validation_losses"] == whole["validation_losses"]
    for name in ("whole", "parts"):
        assert not (tmp_path / name / "checkpoint.tmp").exists()
    assert (tmp_path / "parts" / "sample.txt").read_text() == (tmp_path / "whole" / "sample.txt").read_text()


def test_failed_save_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    trainer = Trainer(tiny(tmp_path))
    trainer.save(path)
    before = path.read_bytes()

    def write_half(state: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(OSError, match="disk full"):
        trainer.save(path)
    assert path.read_bytes() == before


def test_checkpoint_changes_device(tmp_path: Path) -> None:
    train(tiny(tmp_path, device="cpu", steps=10))
    trainer = Trainer(tiny(tmp_path))
    trainer.load(tmp_path / "checkpoint.pt")
    assert {p.device.type for p in trainer.model.parameters()} == {DEVICE}
    averages = [state["exp_avg"] for state in trainer.optimizer.state.values()]
    assert averages
    assert {average.device.type for average in averages} == {DEVICE}
    assert trainer.step() < trainer.losses[0]


def test_sample_depends_on_the_seed_alone(tmp_path: Path) -> None:
    trainer = Trainer(tiny(tmp_path, sample_bytes=60))
    first = trainer.sample()
    torch.manual_seed(99)
    torch.rand(7, device=DEVICE)
    assert trainer.sample() == first
    trainer.options.seed += 1
    assert trainer.sample() != first
    assert first.startswith("The ")


def test_top_k_and_temperature_narrow_the_choice(tmp_path: Path) -> None:
    model = Trainer(tiny(tmp_path)).model
    prompt = torch.tensor([list(b"The ")], device=DEVICE)

    def write(temperature: float, top_k: int, seed: int) -> list[int]:
        generator = torch.Generator(DEVICE).manual_seed(seed)
        return list(model.generate(prompt, 40, temperature, top_k, generator)[0].tolist())

    assert write(1.0, 1, seed=1) == write(1.0, 1, seed=2)
    assert write(1e-4, 0, seed=1) == write(1.0, 1, seed=2)
    assert write(1.0, 0, seed=1) != write(1.0, 0, seed=2)
    assert len(write(1.0, 0, seed=1)) == 44


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_mixed_precision_learns(tmp_path: Path, dtype: str) -> None:
    trainer = Trainer(tiny(tmp_path, dtype=dtype, steps=60))
    assert trainer.scaler.is_enabled() == (dtype == "fp16")
    losses = [trainer.step() for _ in range(60)]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-5:]) / 5 < losses[0] - 1.0
    with trainer.autocast():
        assert trainer.model(torch.zeros(1, 4, dtype=torch.long, device=DEVICE)).dtype == train_gpt.DTYPES[dtype]
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}


def test_scaler_skips_an_overflow(tmp_path: Path) -> None:
    trainer = Trainer(tiny(tmp_path, dtype="fp16"))
    trainer.step()
    before = [p.detach().clone() for p in trainer.model.parameters()]
    scale = trainer.scaler.get_scale()
    hook = trainer.model.embedding.weight.register_hook(lambda gradient: gradient * math.inf)
    trainer.step()
    hook.remove()
    assert all(torch.equal(p, old) for p, old in zip(trainer.model.parameters(), before, strict=True))
    assert trainer.scaler.get_scale() == scale / 2


def test_results_on_disk(tmp_path: Path) -> None:
    metrics = train(tiny(tmp_path))
    assert json.loads((tmp_path / "metrics.json").read_text())["losses"] == metrics["losses"]
    assert metrics["tokens_per_second"] > 0
    assert [step for step, _ in metrics["validation_losses"]] == [10, 20]
    if DEVICE == "cuda":
        assert metrics["peak_memory_bytes"] > 4 * metrics["parameters"]  # at least the weights, four bytes each
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "sample.txt").read_text().startswith("The ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 30, "heads": 4}, "width 30 does not split into 4 heads of even size; use a multiple of 8"),
        ({"context": 10**7}, r"context 10000000 is longer than the validation text; use at most \d+"),
        ({"resume": Path("nowhere.pt")}, "no checkpoint at nowhere.pt"),
        ({"steps": 0}, "steps must be positive, not 0"),
        ({"layers": 0}, "layers must be at least 1, not 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
        ({"top_k": -1}, "top_k must not be negative: -1"),
    ],
)
def test_bad_options(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        train(tiny(tmp_path, **changes))


def test_checkpoint_of_another_run(tmp_path: Path) -> None:
    train(tiny(tmp_path, steps=2))
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(UsageError, match=r"holds another model: .*give the same sizes"):
        train(tiny(tmp_path, width=64, resume=path))
    with pytest.raises(UsageError, match="has 2 steps behind it; give more --steps"):
        train(tiny(tmp_path, steps=2, resume=path))


def test_missing_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"^torch sees no CUDA device; use --device cpu$"):
        train(tiny(tmp_path, device="cuda"))


def test_prompt_longer_than_the_context() -> None:
    model = gpt.GPT(gpt.GPTConfig(context=8, layers=1, heads=1, width=8)).to(DEVICE)
    with pytest.raises(ValueError, match=r"^9 tokens do not fit the model's context of 8$"):
        model(torch.zeros(1, 9, dtype=torch.long, device=DEVICE))


def test_command_line(tmp_path: Path) -> None:
    script = [sys.executable, str(Path(train_gpt.__file__))]
    sizes = ["--batch-size=2", "--context=16", "--layers=1", "--heads=1", "--width=8", "--steps=2", "--sample-bytes=9"]
    good = subprocess.run(
        [*script, "--device", DEVICE, "--dtype=fp32", *sizes, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert good.returncode == 0, good.stderr
    assert "2 steps in" in good.stdout
    assert "tokens/s=" in good.stderr
    assert ("MiB=" in good.stderr) == (DEVICE == "cuda")
    bad = subprocess.run([*script, "--device", "cpu", "--width", "3"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "train_gpt: width 3 does not split into 4 heads of even size; use a multiple of 8\n"
