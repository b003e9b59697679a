"""`torchdevice info` tells the state of this installation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import torch

from tests.docs.fields import assert_documented
from torchdevice import _C

#: What is set for the whole suite, such as the native backend.
INHERITED = {name: value for name, value in os.environ.items() if name.startswith("TORCHDEVICE")}


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


def set_lines(*more: str) -> list[str]:
    """What the block of settings is, with these besides those of the whole suite."""
    found = sorted([*more, *(f"{name}={value}" for name, value in INHERITED.items())]) or ["none"]
    return [f"{'settings':<16}{found[0]}", *(f"{'':<16}{line}" for line in found[1:])]


def test_active() -> None:
    lines = info(TORCHDEVICE_COUNT="2")
    assert lines[0] == "torchdevice     active: no NVIDIA GPU works here"
    assert lines[1].startswith(f"torch           {torch.__version__}")
    assert lines[2] == f"native backend  {_C.native_backend_name()}"
    assert lines[3] == f"half precision  {_C.half_rule()}"
    lines = [line for line in lines[4:] if not line.startswith("known wrong ")]
    assert lines[0] == "devices         2"
    assert [line.split()[0] for line in lines[1:3]] == ["cuda:0", "cuda:1"]
    assert lines[3:] == set_lines("TORCHDEVICE_COUNT=2")


def test_not_active() -> None:
    lines = info(TORCHDEVICE="0")
    assert lines[0] == "torchdevice     not active: switched off by TORCHDEVICE=0"
    assert lines[2:] == ["devices         0", *set_lines("TORCHDEVICE=0")]


def test_nothing_is_set() -> None:
    lines = info()
    assert lines[-len(set_lines()) :] == set_lines()


def test_a_misspelt_setting() -> None:
    """Also where torchdevice is not active and nobody warns of it."""
    lines = info(TORCHDEVICE="0", TORCHDEVICE_FALBACK="error")
    mistake = "not a setting of torchdevice; did you mean TORCHDEVICE_FALLBACK?"
    assert lines[3:] == set_lines("TORCHDEVICE=0", f"TORCHDEVICE_FALBACK=error ({mistake})")


def test_kept_out_by_torchs_switch() -> None:
    assert info(TORCH_DEVICE_BACKEND_AUTOLOAD="0")[0].startswith("torchdevice     not active: ")


def data(status: int = 0, **environment: str) -> dict[str, Any]:
    process = subprocess.run(
        [sys.executable, "-m", "torchdevice", "info", "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == status, process.stderr
    found: dict[str, Any] = json.loads(process.stdout)
    assert_documented("info", found)
    return found


def test_data() -> None:
    found = data(TORCHDEVICE_COUNT="2", TORCHDEVICE_PROFILE="h100", TORCHDEVICE_FALBACK="")
    assert (found["active"], found["torch"], found["native_backend"]) == (
        True,
        torch.__version__,
        _C.native_backend_name(),
    )
    assert found["devices"][1] == {
        "device": "cuda:1",
        "name": "NVIDIA H100 80GB HBM3",
        "memory": 80 << 30,
        "multiprocessors": 132,
        "capability": "9.0",
    }
    mistake = "not a setting of torchdevice; did you mean TORCHDEVICE_FALLBACK?"
    assert {"name": "TORCHDEVICE_FALBACK", "value": "", "mistake": mistake} in found["settings"]
    assert {"name": "TORCHDEVICE_COUNT", "value": "2", "mistake": None} in found["settings"]


def test_data_where_it_is_switched_off() -> None:
    found = data(TORCHDEVICE="0")
    assert (found["active"], found["native_backend"], found["devices"]) == (False, None, [])


def test_the_exit_status_of_a_failed_activation() -> None:
    found = data(1, TORCHDEVICE_MEMORY="lots")
    assert (found["active"], found["devices"]) == (False, [])
    assert found["reason"].startswith("activation failed: ValueError: TORCHDEVICE_MEMORY must be a size ")
