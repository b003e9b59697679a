"""A library's own tests on cuda, and whatever fails there once more without torchdevice, on the CPU.

    pip download --no-binary :all: --no-deps einops==0.8.2 && tar xzf einops-0.8.2.tar.gz
    python -m conformance.libraries einops-0.8.2/einops/tests/test_ops.py
    python -m conformance.libraries accelerate-1.15.0/tests/test_hooks.py accelerate-1.15.0/tests/test_utils.py
    touch peft-0.21.2/tests/__init__.py  # the distribution lacks it, and its tests import each other by it
    python -m conformance.libraries peft-0.21.2/tests/test_custom_models.py -k test_disable_adapters
    export HF_HOME=/tmp/hub; python -m conformance.hub_models  # what most of its other tests would load from the Hub
    python -m conformance.libraries peft-0.21.2/tests/test_decoder_models.py
    python -m conformance.libraries --doctests --default-device .../site-packages/torchmetrics -k "not plot"

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
    """The outcome of each test, "passed", "skipped" or the failure's first line, by pytest's name of it."""
    outcomes: dict[str, str] = {}
    for file in files:
        chosen = sorted(name for name in only or () if name.startswith((f"{file.name}::", f"{file.name}/")))
        if only is None or chosen:
            outcomes |= _run_file(file, device, options, chosen or [file.name])
    return outcomes


def _run_file(file: Path, device: str, options: argparse.Namespace, tests: list[str]) -> dict[str, str]:
    environment = {
        **os.environ,
        "TORCHDEVICE": "1" if device == "cuda" else "0",
        "TORCHDEVICE_TEST_DEFAULT": device if options.default_device else "",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "HF_HUB_OFFLINE": "1",
        "EINOPS_TEST_BACKENDS": "numpy,torch",
        "TORCH_DEVICE": device,  # timm asks for it
    }
    with tempfile.TemporaryDirectory() as scratch:
        junit = Path(scratch, "junit.xml")
        arguments = [
            *("-p", PLUGIN, "-p", "no:cacheprovider", "-q", "--tb=short", "--timeout=300"),
            *("-o", "addopts=", "-o", "junit_family=xunit1", f"--junitxml={junit}", f"--rootdir={file.parent}"),
            *("-k", options.tests),
            *(["-x"] if options.first else []),
            *(["--doctest-modules", "--import-mode=importlib"] if options.doctests else []),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments, *tests],
            cwd=file.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if not junit.exists():
            said = f"{done.stdout}{done.stderr}"[-3000:]
            raise SystemExit(f"{file} on {device}: pytest ended with {done.returncode}\n{said}")
        if options.verbose:
            print(done.stdout, file=sys.stderr)
        return {_name(case): _outcome(case) for case in ElementTree.parse(junit).iter("testcase")}


def _name(case: ElementTree.Element) -> str:
    """The test's name as pytest takes it: of the class name, "tests.test_x.TestX", the class alone is of interest."""
    file = case.get("file", "")
    classes = case.get("classname", "").removeprefix(file.removesuffix(".py").replace("/", "."))
    return "::".join([file, *filter(None, classes.split(".")), case.get("name", "")])


def _outcome(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            return (found.get("message") or kind).strip().partition("\n")[0][:200]
    return "passed" if case.find("skipped") is None else "skipped"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="the library's test files, or its package")
    parser.add_argument("--tests", "-k", default="", help="pytest's expression for the tests to run")
    parser.add_argument("--default-device", action="store_true", help="make cuda torch's default device")
    parser.add_argument("--doctests", action="store_true", help="run the examples in docstrings too")
    parser.add_argument("--verbose", action="store_true", help="pytest's own report as well")
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    options = parser.parse_args()
    files = [file.resolve() for file in options.files]
    on_cuda = run(files, "cuda", options)
    failed = {name for name, outcome in on_cuda.items() if outcome not in ("passed", "skipped")}
    on_cpu = run(files, "cpu", options, failed) if failed else {}
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
