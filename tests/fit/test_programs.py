"""Whole programs, run dry and computed: examples, and small sizes of what docs/fit.md measures."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.fit.test_exact import BEGIN, END, measure

_ROOT = Path(__file__).resolve().parents[2]

_RUN = """
import runpy, sys
sys.argv = {words!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_LLAMA = ["benchmarks/fit/llama.py", "--length", "64", "--checkpointing"]
_PROGRAMS = {
    "gpt2": ["benchmarks/fit/gpt2.py", "--length", "64"],
    "gpt2 in float32": ["benchmarks/fit/gpt2.py", "--length", "64", "--float32"],
    "resnet": ["benchmarks/fit/resnet.py", "--train", "--batch", "2", "--pixels", "64"],
    "unet": ["benchmarks/fit/unet.py", "--batch", "1", "--pixels", "32"],
    "llama": [*_LLAMA, "none"],
    "llama, checkpointed": [*_LLAMA, "full"],
    "llama, checkpointed in part": [*_LLAMA, "selective"],
    "classify_shapes": ["examples/classify_shapes.py", "--steps", "3"],
    "two_gpus": ["examples/two_gpus.py", "--steps", "3"],
}

#: mse_loss gives a number in the memory of what it reduced, also on a GPU. Its Meta kernel gives four bytes.
_OF_LOSSES = {"unet": 4 * (4 * 32 * 32 - 1)}


@pytest.mark.parametrize("name", _PROGRAMS)
def test_the_most_that_outlives_operators_is_the_computed_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, *arguments = _PROGRAMS[name]
    words = [str(_ROOT / program), *arguments]
    if program.startswith("examples"):
        words += ["--out", str(tmp_path)]
        monkeypatch.setenv("TORCHDEVICE_COUNT", "2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rank = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for variable, value in rank.items():
        monkeypatch.setitem(os.environ, variable, value)
    code = BEGIN + _RUN.format(words=words) + END
    (dry, _, dry_end), (computed, _, computed_end) = measure(code, "dry"), measure(code, "cpu")
    assert (dry + _OF_LOSSES.get(name, 0), dry_end) == (computed, computed_end)
