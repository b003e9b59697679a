"""A crash or a timeout of a worker is a finding, and the run goes on after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.operators import runner

# Speaks the worker's protocol, without torch: calls of the variants "one", "two", "three" on both devices.
WORKER = """
import json, os, signal, sys, time
results = os.fdopen(int(sys.argv[1]), "w", buffering=1)
progress = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
results.write(json.dumps({"ready": True}) + "\\n")
for line in sys.stdin:
    job = json.loads(line)
    for variant in ("one", "two", "three"):
        if [variant, 0] in job["skip"]:
            continue
        for device in ("cpu", "cuda"):
            os.pwrite(progress, f"{variant}\\t0\\t{device}\\n".encode(), 0)
            if job["op"] == f"crash {variant} {device}":
                print("last words", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGSEGV)
            if job["op"] == f"hang {variant} {device}":
                time.sleep(60)
    results.write(json.dumps({"op": job["op"], "findings": [], "counts": {"equal": 3 - len(job["skip"])}}) + "\\n")
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[runner.Worker]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    worker = runner.Worker(2, [sys.executable, str(script)])
    yield worker
    worker.close()


def job(op: str) -> runner.Job:
    return {"op": op, "family": "other", "dtype": "float32", "limit": None}


def test_a_result_is_handed_on(worker: runner.Worker) -> None:
    assert worker.run(job("fine")) == {"op": "fine", "findings": [], "counts": {"equal": 3}}


def test_a_crash_on_cuda_is_a_finding_and_the_job_goes_on(worker: runner.Worker) -> None:
    result = worker.run(job("crash two cuda"))
    (finding,) = result["findings"]
    assert (finding["variant"], finding["check"]) == ("two", "crash")
    assert finding["examples"][0]["got"] == "exit code -11: last words\n, on cuda"
    assert result["counts"] == {"equal": 2, "failed": 1}


def test_a_crash_on_the_cpu_is_torch_s_own(worker: runner.Worker) -> None:
    result = worker.run(job("crash two cpu"))
    assert (result["findings"], result["counts"]) == ([], {"equal": 2})


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_call_that_does_not_end_is_a_finding(worker: runner.Worker, device: str) -> None:
    result = worker.run(job(f"hang three {device}"))
    (finding,) = result["findings"]
    assert (finding["variant"], finding["check"]) == ("three", "timeout")
    assert finding["examples"][0]["got"] == f"timeout after 2 s, on {device}"
    assert result["gave up"] == "timeout after 2 s"
    assert worker.run(job("fine"))["counts"] == {"equal": 3}
