"""PyTorch's own test files on cuda, and whatever fails there once more without torchdevice.

    python -m conformance.upstream path/to/pytorch/test test_torch.py nn/test_convolution.py

The wheel does not ship these files; any checkout or source archive of PyTorch has them. A test that fails on cuda
counts against us unless its twin fails too, in a process without torchdevice: `TestTorchDeviceTypeCPU::test_add_cpu`
for `TestTorchDeviceTypeCUDA::test_add_cuda`, the test itself where it names no device. A test that only CUDA has
counts. The ledger lets tests through, each with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import tomllib

ROOT = Path(__file__).resolve().parents[2]
LEDGER = Path(__file__).with_name("ledger.toml")


@dataclass
class Report:
    """What one file's tests did."""

    file: str
    counts: dict[str, int]
    skipped: dict[str, int] = field(default_factory=dict)
    """Tests by the reason why they were skipped."""
    listed: dict[str, str] = field(default_factory=dict)
    unlisted: dict[str, str] = field(default_factory=dict)
    passing: list[str] = field(default_factory=list)
    """Tests that the ledger names and that pass."""


class File:
    """One test file in a folder of PyTorch's tests."""

    def __init__(self, folder: Path, name: str, options: argparse.Namespace) -> None:
        self.folder, self.name, self.options = folder, name, options

    def on_cuda(self) -> dict[str, tuple[str, str]]:
        """Run its tests on cuda: outcome and message by "Class::test"."""
        return self._run("cuda", ["-k", self.options.tests, self.name])

    def without_torchdevice(self, tests: set[str]) -> dict[str, tuple[str, str]]:
        """Run those of the tests that the file has on the CPU."""
        collected = self._pytest("cpu", ["--collect-only", self.name]).stdout.splitlines()
        chosen = [line for line in collected if line.partition("::")[2] in tests]
        return self._run("cpu", chosen) if chosen else {}

    def _run(self, device: str, arguments: list[str]) -> dict[str, tuple[str, str]]:
        with tempfile.TemporaryDirectory() as scratch:
            junit = Path(scratch, "junit.xml")
            workers = ["-n", str(self.options.jobs), "--dist=worksteal", "--max-worker-restart=100"]
            limit = [f"--timeout={self.options.timeout}"]
            done = self._pytest(device, ["--tb=short", f"--junitxml={junit}", *workers, *limit, *arguments])
            if not junit.exists():
                raise SystemExit(f"{self.name} on {device}: pytest ended with {done.returncode}\n{done.stdout[-4000:]}")
            return dict(_outcome(case) for case in ElementTree.parse(junit).iter("testcase"))

    def _pytest(self, device: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTORCH_TESTING_DEVICE_ONLY_FOR": device,
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
            "TORCH_DEVICE_BACKEND_AUTOLOAD": str(int(device == "cuda")),
            "OMP_NUM_THREADS": "1",
        }
        # torch's conftest.py was written for the pytest of its day, and pytest's logging formats whatever a test logs.
        plugins = ["-p", "no:cacheprovider", "-p", "no:logging", "-p", f"{__package__}.older_names"]
        own = ["--noconftest", "-c", os.devnull, "--rootdir=.", "-q", *plugins]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as listing:
            listing.write("\n".join(arguments))
            listing.flush()
            command = [sys.executable, "-m", "pytest", *own, f"@{listing.name}"]
            return subprocess.run(
                command, cwd=self.folder, env=environment, text=True, capture_output=True, check=False
            )


def _outcome(case: ElementTree.Element) -> tuple[str, tuple[str, str]]:
    name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
    for child in case:
        if child.tag in ("failure", "error"):
            return name, ("failed", f"{child.get('message') or ''}\n{child.text or ''}")
        if child.tag == "skipped":
            return name, ("skipped", child.get("message") or "")
    return name, ("passed", "")


def twin(test: str) -> str:
    """The name that the same test has on the CPU."""
    group, _, name = test.partition("::")
    return f"{group.replace('CUDA', 'CPU')}::{name.replace('_cuda', '_cpu')}"


def check(file: File, entries: list[dict[str, Any]]) -> Report:
    """Run a file on cuda and its failures without torchdevice, and look the rest up in the ledger."""
    found = file.on_cuda()
    failures = {test: message for test, (outcome, message) in found.items() if outcome == "failed"}
    twins = file.without_torchdevice({twin(test) for test in failures}) if failures else {}
    report = Report(file.name, dict(Counter(outcome for outcome, _ in found.values() if outcome != "failed")))
    report.skipped = dict(Counter(message for outcome, message in found.values() if outcome == "skipped"))
    theirs = 0
    reasons = {test: entry["reason"] for entry in entries for test in found if _names(entry, file.name, test)}
    report.passing = [test for test in reasons if found[test][0] == "passed"]
    for test, message in failures.items():
        reason = reasons.get(test)
        if twins.get(twin(test), ("", ""))[0] == "failed":
            theirs += 1
        elif reason:
            report.listed[test] = reason
        else:
            report.unlisted[test] = message
    report.counts["fails without torchdevice too"] = theirs
    return report


def _names(entry: dict[str, Any], file: str, test: str) -> bool:
    return fnmatchcase(file, entry["file"]) and any(fnmatchcase(test, pattern) for pattern in entry["tests"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.upstream", description=__doc__)
    parser.add_argument("folder", type=Path, help="PyTorch's folder of tests")
    parser.add_argument("files", nargs="+", help="its test files, e.g. test_torch.py")
    parser.add_argument("-k", dest="tests", default="", help="pytest's expression for a part of the tests")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    parser.add_argument("--timeout", type=int, default=300, help="seconds for one test")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "out" / "upstream.jsonl", help="a line is added for each file"
    )
    options = parser.parse_args()
    entries = tomllib.loads(LEDGER.read_text())["entry"]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in options.files:
        report = check(File(options.folder.resolve(), name, options), entries)
        with options.out.open("a") as output:
            output.write(json.dumps(asdict(report)) + "\n")
        print(f"{name}: {report.counts}, {len(report.listed)} in the ledger, {len(report.unlisted)} not", flush=True)
        for test, message in report.unlisted.items():
            print(f"  {test}: {message.strip().splitlines()[0][:200] if message.strip() else ''}")
        for test in report.passing:
            print(f"  {test}: passes, though the ledger names it")
        failed |= bool(report.unlisted)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
