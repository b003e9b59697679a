"""`torchdevice info` tells the state of this installation."""

from __future__ import annotations

import os
import subprocess
import sys

import torch  # noqa: F401, before its extension

from torchdevice import _C
from torchdevice._built_for import TORCH_MINOR


def info(**environment: str) -> list[str]:
    process = subprocess.run(
        [sys.executable, "-m", "torchdevice", "info"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stderr == ""
    return process.stdout.splitlines()


def test_active() -> None:
    lines = info(TORCHDEVICE_COUNT="2")
    assert lines[0] == "torchdevice     active: no NVIDIA GPU works here"
    assert lines[1].startswith(f"torch           {TORCH_MINOR}.")
    assert lines[2] == f"native backend  {_C.native_backend_name()}"
    assert lines[3] == "devices         2"
    assert [line.split()[0] for line in lines[4:]] == ["cuda:0", "cuda:1"]


def test_not_active() -> None:
    lines = info(TORCHDEVICE="0")
    assert lines[0] == "torchdevice     not active: switched off by TORCHDEVICE=0"
    assert lines[-1] == "devices         0"


def test_kept_out_by_torchs_switch() -> None:
    assert info(TORCH_DEVICE_BACKEND_AUTOLOAD="0")[0].startswith("torchdevice     not active: ")
