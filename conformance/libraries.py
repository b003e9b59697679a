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
import sys
from collections import Counter
from pathlib import Path

from torchdevice.testing.suite import Outcomes, Suite, compare

ROOT = Path(__file__).resolve().parents[1]

#: Told to pytest by `-p`: it is imported before any test.
PLUGIN = "conformance.default_device"


def suite(file: Path, device: str, options: argparse.Namespace) -> Suite:
    """A library's tests on a device, without torchdevice unless that is cuda."""
    return Suite(
        file.parent,
        options=[
            *("-p", PLUGIN, "--tb=short", "--timeout=300", "-o", "addopts=", f"--rootdir={file.parent}"),
            *(["--doctest-modules", "--import-mode=importlib"] if options.doctests else []),
        ],
        environment={
            "TORCHDEVICE": "1" if device == "cuda" else "0",
            "CONFORMANCE_DEFAULT_DEVICE": device if options.default_device else "",
            "HF_HUB_OFFLINE": "1",
            "EINOPS_TEST_BACKENDS": "numpy,torch",
            "TORCH_DEVICE": device,  # timm asks for it
        },
        search=[ROOT],
        verbose=options.verbose,
    )


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
    choice = ["-k", options.tests, *(["-x"] if options.first else [])]
    counts: Counter[str] = Counter()
    ours: Outcomes = {}
    for file in files:
        found = compare(suite(file, "cuda", options), suite(file, "cpu", options), [file.name], choice=choice)
        counts.update(outcome.status for outcome in found.outcomes.values())
        counts["fail on the CPU too"] += len(found.on_both)
        ours |= found.on_cuda_alone
    report = {
        **{kind: counts[kind] for kind in ("passed", "skipped", "fail on the CPU too")},
        "fail on cuda alone": {name: outcome.headline() for name, outcome in sorted(ours.items())},
    }
    print(json.dumps(report, indent=1))
    return bool(ours)


if __name__ == "__main__":
    sys.exit(main())
