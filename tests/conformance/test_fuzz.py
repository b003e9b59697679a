"""The campaign of random rounds: a few of each kind, and that it notices what goes wrong."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable

import pytest
import torch

from conformance.fuzz import __main__ as campaign
from conformance.fuzz import worker
from conformance.fuzz.worker import Finding, check_error
from torchdevice import _C


@pytest.mark.parametrize("kind", campaign.KINDS)
def test_some_rounds(kind: str) -> None:
    """In processes of their own, as in the campaign; seed 0, so that a failure is one tomorrow too."""
    if _C.native_backend_name() != "cpu" and kind == "graphs":
        pytest.skip("products over MPS are close to those of another run, and not equal")
    tally = campaign.Tally()
    campaign.watch(kind, first=0, seconds=60, rounds=15, tally=tally)
    assert tally.findings == []
    assert sum(tally.counts.values()) > 0


def test_a_kind_of_round_for_each_name() -> None:
    assert tuple(worker.rounds()) == campaign.KINDS


WORKER = "import sys, json; say = lambda **what: print(json.dumps(what), flush=True); say(seed=7);"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import os; os.abort()", "killed by SIGABRT\n"),
        ("say(seed=8); import ctypes; ctypes.string_at(1)", "killed by SIGSEGV\n"),
        ("say(seed=8); sys.exit(5)", "exit status 5\n"),
        ("say(finding='wrong numbers')", "wrong numbers\n"),
        ("import time; time.sleep(1000)", "no end after 2 seconds\n"),
    ],
)
def test_what_is_a_finding(
    code: str, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(kind: str, first: int, seconds: float) -> object:
        return popen([sys.executable, "-c", WORKER + code], stdout=-1, stderr=-1, text=True)

    popen = campaign.subprocess.Popen
    monkeypatch.setattr(campaign, "start", start)
    monkeypatch.setattr(campaign, "HANG_SECONDS", 2)
    tally = campaign.Tally()
    seed = 8 if "seed=8" in code else 7
    assert campaign.watch("graphs", 7, 1.0, sys.maxsize, tally) == seed + 1
    (finding,) = tally.findings
    assert finding.startswith(f"graphs, seed {seed}: {what}")
    assert finding.endswith(f"again: --kind graphs --seed 7 --rounds {seed - 6}")
    assert "finding 1: graphs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "is_finding"),
    [
        (ValueError("a mistake"), False),
        (MemoryError(), False),
        (SystemError("error return without exception set"), True),
        (RuntimeError('x INTERNAL ASSERT FAILED at "a.cpp":1, please report a bug to PyTorch.'), True),
    ],
)
def test_errors_that_blame_torch(error: Exception, is_finding: bool) -> None:
    if not is_finding:
        check_error(error)
        return
    with pytest.raises(Finding):
        check_error(error)


def test_a_wrong_replay_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from conformance.fuzz import graphs

    replay: Callable[..., None] = torch.cuda.CUDAGraph.replay

    def twice(graph: torch.cuda.CUDAGraph) -> None:
        replay(graph)
        torch.cuda.current_stream().synchronize()
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", twice)
    found: Counter[bool] = Counter()
    for seed in range(10):
        try:
            graphs.run(random.Random(seed))
        except Finding:
            found[True] += 1
    assert found[True] > 0  # programs that change their state
