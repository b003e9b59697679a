"""A process that tries subjects: one job a line on stdin, one result a line on the file given as argument.

A line "now" goes to the progress file before each call, so that the parent can say where a crash happened.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from conformance.operators.comparison import Finding, compare
from conformance.operators.observation import Observation, Trial, observe
from conformance.operators.subjects import Subject, subjects

Progress = Callable[[Trial, str], None]

#: Findings of one (variant, check) that are written out; the others are counted.
KEPT = 3


def run(
    subject: Subject,
    dtype: torch.dtype,
    limit: int | None = None,
    skip: Sequence[list[Any]] = (),
    only: Sequence[str] = (),
    progress: Progress = lambda trial, device: None,
) -> dict[str, Any]:
    """Try one subject with one dtype.

    Args:
        limit: number of samples.
        skip: [variant, sample] pairs that crashed before.
        only: the variants to try; all where it is empty.
        progress: told of each call before it is made.
    """
    started = time.monotonic()
    counts: Counter[str] = Counter()
    findings: dict[tuple[str, ...], dict[str, Any]] = {}

    def found(trial: Trial, finding: Finding, first: bool) -> None:
        key = trial.variant, finding.check, kind(finding)
        fresh = {"variant": trial.variant, "check": finding.check, "count": 0, "calls": 0, "examples": []}
        entry = findings.setdefault(key, fresh)
        entry["count"] += 1
        entry["calls"] += first
        if len(entry["examples"]) < KEPT:
            example = {"sample": trial.sample, "expected": finding.expected[:500], "got": finding.got[:500]}
            entry["examples"].append(example)

    samples: set[int] = set()
    try:
        for trial in subject.trials(dtype, limit):
            if [trial.variant, trial.sample] in skip or (only and trial.variant not in only):
                continue
            samples.add(trial.sample)
            differences, equal = _one(trial, progress)
            for number, finding in enumerate(differences):
                found(trial, finding, number == 0)
            counts["failed" if differences else "equal" if equal else "close"] += 1
    except Exception:
        found(Trial(-1, "samples", lambda: None, ()), Finding("not made", "", traceback.format_exc()[-500:]), True)
        counts["failed"] += 1
    return {
        "op": subject.key,
        "family": subject.family,
        "dtype": str(dtype).removeprefix("torch."),
        "samples": len(samples),
        "counts": dict(counts),
        "findings": list(findings.values()),
        "seconds": round(time.monotonic() - started, 3),
    }


def kind(finding: Finding) -> str:
    """What tells two findings of one check apart: the text of an error, without its numbers."""
    telling = ("raised", "not raised", "error", "text", "warnings", "observed")
    return re.sub(r"\d+", "", finding.got)[:80] if finding.check.startswith(telling) else ""


def _one(trial: Trial, progress: Progress) -> tuple[list[Finding], bool]:
    progress(trial, "cpu")
    try:
        cpu = observe(trial, "cpu")
    except Exception:
        return [Finding("not observed on the CPU", "", traceback.format_exc()[-500:])], False
    progress(trial, "cuda")
    try:
        cuda = observe(trial, "cuda")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return [
            Finding("observed", "arguments made, results read", f"{where.name}: {type(error).__name__}: {error}")
        ], False
    differences, equal = compare(trial, cpu, cuda)
    if any(finding.check.endswith("values") for finding in differences) and not _steady(trial, cpu):
        return [], False
    return differences, equal


def _steady(trial: Trial, cpu: Observation) -> bool:
    """Whether the CPU repeats its own values; some of its kernels read memory that nobody wrote."""
    return all(compare(trial, cpu, observe(trial, "cpu"))[1] for _ in range(3))


def main() -> None:
    """Serve jobs until stdin ends."""
    results = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    progress_file = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
    torch.set_num_threads(1)
    torch.set_warn_always(True)
    known = subjects()

    def progress(trial: Trial, device: str) -> None:
        os.pwrite(progress_file, f"{trial.variant}\t{trial.sample}\t{device}\n".encode(), 0)

    torch.zeros(1, device="cuda")
    results.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        job = json.loads(line)
        dtype = getattr(torch, job["dtype"])
        result = run(known[job["op"]], dtype, job["limit"], job["skip"], progress=progress)
        results.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
