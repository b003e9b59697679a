"""Every example runs as it is, as a program of its own, and writes what it says."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

RUNS = {
    "classify_shapes.py": (["--steps", "4"], {}, {"predictions.png", "loss.txt"}),
    "diffuse_points.py": (["--steps", "20"], {}, {"diffusion.png"}),
    "speak.py": (["--steps", "4", "--text", "hello"], {}, {"speech.wav", "spectrogram.png"}),
    "two_gpus.py": (["--steps", "4"], {"TORCHDEVICE_COUNT": "2"}, {"picture.png"}),
    "train_ddp.py": (["--steps", "4"], {"TORCHDEVICE_COUNT": "2"}, {"regions.png"}),
    "generate_text.py": (["--steps", "3"], {}, {"text.txt"}),
}


def run(name: str, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if name == "train_ddp.py" else []
    )
    return subprocess.run(
        [sys.executable, *launcher, str(EXAMPLES / name), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_every_program_is_listed() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text()}
    assert programs == {*RUNS, "train_gpt.py"}


@pytest.mark.parametrize("name", RUNS)
def test_example(name: str, tmp_path: Path) -> None:
    if name == "generate_text.py" and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    arguments, environment, files = RUNS[name]
    process = run(name, [*arguments, "--out", str(tmp_path)], **environment)
    assert process.returncode == 0, process.stderr
    assert "loss" in process.stdout
    assert "nan" not in process.stdout
    assert {path.name for path in tmp_path.iterdir()} == files
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_two_gpus_are_asked_for() -> None:
    process = run("two_gpus.py", [], TORCHDEVICE_COUNT="1")
    assert (process.returncode, process.stderr) == (1, "two_gpus: needs two CUDA devices, torch sees 1\n")
