"""PyTorch's own test files on cuda, and whatever fails there once more without torchdevice.

    python -m conformance.upstream path/to/pytorch/test test_torch.py nn/test_convolution.py

The wheel does not ship these files; any checkout or source archive of PyTorch has them. A test that fails on cuda
counts against us unless its twin fails too, in a process without torchdevice: `TestTorchDeviceTypeCPU::test_add_cpu`
for `TestTorchDeviceTypeCUDA::test_add_cuda`, the test itself where it names no device. A test that only CUDA has
counts. The ledger lets tests through, each with its reason, and must be true: a test that it names and that passes
fails the run, and so does a name that the file has no test for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torchdevice.testing import ledger
from torchdevice.testing.suite import Suite, compare

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
    untrue: list[str] = field(default_factory=list)
    """What the ledger says and is not so."""


def suite(device: str, options: argparse.Namespace) -> Suite:
    """PyTorch's tests on a device, without torchdevice unless that is cuda."""
    # torch's conftest.py was written for the pytest of its day, and pytest's logging formats whatever a test logs.
    plugins = ["-p", "no:logging", "-p", f"{__package__}.older_names"]
    workers = ["-n", str(options.jobs), "--dist=worksteal", "--max-worker-restart=100"]
    return Suite(
        options.folder,
        options=[
            *("--noconftest", "-c", os.devnull, "--rootdir=.", "--tb=short", f"--timeout={options.timeout}"),
            *(*plugins, *workers),
        ],
        environment={
            "PYTORCH_TESTING_DEVICE_ONLY_FOR": device,
            "TORCH_DEVICE_BACKEND_AUTOLOAD": str(int(device == "cuda")),
            "OMP_NUM_THREADS": "1",
        },
        search=[options.folder, ROOT],
    )


def twin(test: str) -> str:
    """The name that the same test has on the CPU."""
    file, *inside = test.split("::")
    return "::".join([file, *(name.replace("CUDA", "CPU").replace("_cuda", "_cpu") for name in inside)])


def check(file: str, options: argparse.Namespace, entries: list[ledger.Entry]) -> Report:
    """Run a file on cuda and its failures without torchdevice, and look the rest up in the ledger."""
    cuda, cpu = suite("cuda", options), suite("cpu", options)
    found = compare(cuda, cpu, [file], choice=["-k", options.tests], twin=twin)
    of_status = {
        status: {test: outcome for test, outcome in found.outcomes.items() if outcome.status == status}
        for status in ("passed", "skipped")
    }
    report = Report(file, {status: len(tests) for status, tests in of_status.items() if tests})
    report.counts["fails without torchdevice too"] = len(found.on_both)
    report.skipped = dict(Counter(outcome.message for outcome in of_status["skipped"].values()))
    for test, outcome in found.on_cuda_alone.items():
        if entry := ledger.find(entries, test):
            report.listed[test] = entry.reason
        else:
            report.unlisted[test] = outcome.message
    report.untrue = list(ledger.passing(entries, of_status["passed"]))
    if not options.tests:
        of_file = [entry for entry in entries if entry.names[0].startswith(f"{file}::")]
        report.untrue += ledger.unused(of_file, found.outcomes)
    return report


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
    options.folder = options.folder.resolve()
    entries = ledger.load(LEDGER, ledger.Entry)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in options.files:
        report = check(name, options, entries)
        with options.out.open("a") as output:
            output.write(json.dumps(asdict(report)) + "\n")
        print(f"{name}: {report.counts}, {len(report.listed)} in the ledger, {len(report.unlisted)} not", flush=True)
        for test, message in report.unlisted.items():
            print(f"  {test}: {message.strip().splitlines()[0][:200] if message.strip() else ''}")
        for line in report.untrue:
            print(f"  {line}")
        failed |= bool(report.unlisted or report.untrue)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
