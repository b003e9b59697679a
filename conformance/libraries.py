"""A library's own tests on cuda, and whatever fails there once more without torchdevice, on the CPU.

    pip download --no-binary :all: --no-deps einops==0.8.2 && tar xzf einops-0.8.2.tar.gz
    python -m conformance.libraries einops-0.8.2/einops/tests/test_ops.py
    python -m conformance.libraries accelerate-1.15.0/tests/test_hooks.py accelerate-1.15.0/tests/test_utils.py

The library itself must be importable. Tests that choose a device by themselves take cuda where there is one; for the
others cuda is torch's default device (`--default-device`). A test that fails on cuda and passes on the CPU counts
against us, and ends the run with status 1.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Told to pytest by `-p`: it is imported before any test.
PLUGIN = "conformance.default_device"


def run(files: list[Path], device: str, options: argparse.Namespace, only: set[str] | None = None) -> dict[str, str]:
    """The outcome of each test, "passed", "skipped" or the failure's first line, by "file::Class::test"."""
    environment = {
        **os.environ,
        "TORCHDEVICE": "1" if device == "cuda" else "0",
        "TORCHDEVICE_TEST_DEFAULT": device if options.default_device else "",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "HF_HUB_OFFLINE": "1",
        "EINOPS_TEST_BACKENDS": "numpy,torch",
    }
    outcomes = {}
    for file in files:
        with tempfile.TemporaryDirectory() as scratch:
            junit = Path(scratch, "junit.xml")
            arguments = [
                "-p",
                PLUGIN,
                "-q",
                "-x" if options.first else "--tb=short",
                "-k",
                options.tests,
                f"--junitxml={junit}",
                "--timeout=300",
                "-p",
                "no:cacheprovider",
                f"--rootdir={file.parent}",
            ]
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *arguments, file.name],
                cwd=file.parent,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if not junit.exists():
                raise SystemExit(f"{file} on {device}: pytest ended with {done.returncode}\n{done.stdout[-3000:]}")
            for case in ElementTree.parse(junit).iter("testcase"):
                name = f"{file.name}::{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
                outcomes[name] = _outcome(case)
    return {name: outcome for name, outcome in outcomes.items() if only is None or name in only}


def _outcome(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            return (found.get("message") or kind).strip().partition("\n")[0][:200]
    return "passed" if case.find("skipped") is None else "skipped"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="the library's test files")
    parser.add_argument("--tests", "-k", default="", help="pytest's expression for the tests to run")
    parser.add_argument("--default-device", action="store_true", help="make cuda torch's default device")
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    options = parser.parse_args()
    files = [file.resolve() for file in options.files]
    on_cuda = run(files, "cuda", options)
    failed = {name for name, outcome in on_cuda.items() if outcome not in ("passed", "skipped")}
    touched = [file for file in files if any(name.startswith(f"{file.name}::") for name in failed)]
    on_cpu = run(touched, "cpu", options, failed) if touched else {}
    ours = {name: on_cuda[name] for name in sorted(failed) if on_cpu.get(name) in ("passed", "skipped")}
    counts = Counter(outcome if outcome in ("passed", "skipped") else "failed" for outcome in on_cuda.values())
    report = {
        **{kind: counts[kind] for kind in ("passed", "skipped")},
        "fail on the CPU too": len(failed) - len(ours),
        "fail on cuda alone": ours,
    }
    print(json.dumps(report, indent=1))
    return bool(ours)


if __name__ == "__main__":
    sys.exit(main())
