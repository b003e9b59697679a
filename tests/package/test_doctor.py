"""`torchdevice doctor`: one block, in which every claim holds that is about this backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from tests.docs.fields import assert_documented
from torchdevice import _C
from torchdevice.cli import doctor
from torchdevice.cli.doctor import claims

BACKEND = _C.native_backend_name()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torchdevice", "doctor", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_short_block() -> None:
    process = run()
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == lines[-1] == "```"
    assert lines[1].startswith("torchdevice-ext 0.")
    assert lines[2].startswith("machine ")
    assert f"native backend  {BACKEND}" in lines


@pytest.mark.parametrize("name", [name for name, claim in claims.CLAIMS.items() if claim.applies()])
def test_claims(name: str) -> None:
    finding = doctor._check(name, claims.CLAIMS[name].environment)
    assert finding.result == "pass", finding


def test_the_full_block(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    fallback = "tensors go to the native device and come back"
    chosen = ("sparse tensors", fallback, "figures: cuda beside the native device")
    monkeypatch.setattr(claims, "CLAIMS", {name: claims.CLAIMS[name] for name in chosen})
    assert doctor.doctor(full=True) == 0
    lines = capfd.readouterr().out.splitlines()
    held = 3 if BACKEND == "mps" else 2
    assert "pass  sparse tensors" in lines
    if BACKEND == "cpu":
        assert f"-     {fallback}: not over cpu" in lines
    assert any(line.startswith("pass  figures: cuda beside the native device: 10 x 10 additions ") for line in lines)
    assert lines[-2].startswith(f"{held} of {held} claims hold over {BACKEND} (")


def test_data(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(claims, "CLAIMS", {"sparse tensors": claims.CLAIMS["sparse tensors"]})
    assert doctor.doctor(full=True, as_json=True) == 0
    data = json.loads(capfd.readouterr().out)
    assert_documented("doctor", data | {"info": None})
    assert_documented("info", data["info"])
    assert [(one["claim"], one["result"], one["detail"]) for one in data["claims"]] == [("sparse tensors", "pass", "")]
    process = run("--json")
    assert (process.returncode, json.loads(process.stdout)["claims"]) == (0, []), process.stderr


def test_a_claim_that_does_not_hold() -> None:
    finding = doctor._check("streams and events", {"TORCHDEVICE": "0"})
    assert finding.result == "FAIL"
    assert finding.detail == "RuntimeError: Tried to instantiate dummy base class Event"


def test_a_claim_that_crashes() -> None:
    finding = doctor._check("sparse tensors", {"PYTHONPATH": os.devnull, "PYTHONHOME": os.devnull})
    assert finding.result == "FAIL"
    assert "Python" in finding.detail


def test_not_active() -> None:
    process = run("--full", TORCHDEVICE="0")
    assert process.returncode == 1
    assert "FAIL  torchdevice is active" in process.stdout.splitlines()
    process = run("--full", "--json", TORCHDEVICE="0")
    assert process.returncode == 1
    (claim,) = json.loads(process.stdout)["claims"]
    assert (claim["claim"], claim["result"]) == ("torchdevice is active", "FAIL")
    assert run(TORCHDEVICE="0").returncode == 0
    assert run(TORCHDEVICE_MEMORY="lots").returncode == 1
