"""The runner of PyTorch's own test files, on a file made here."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import pytest

from conformance.upstream.__main__ import LEDGER, check, twin
from torchdevice.testing.ledger import Entry, load

TESTS = """
    import torch
    from torch.testing._internal.common_device_type import instantiate_device_type_tests
    from torch.testing._internal.common_utils import TestCase


    class TestThings(TestCase):
        def test_passes(self, device):
            assert torch.ones(2, device=device).sum().item() == 2

        def test_fails_everywhere(self, device):
            assert torch.ones(2, device=device).sum().item() == 3

        def test_fails_on_cuda(self, device):
            assert torch.device(device).type == "cpu", "only the CPU"

        def test_impossible(self, device):
            assert torch.device(device).type == "cpu"

        def test_listed_and_passing(self, device):
            pass

        def test_skipped(self, device):
            self.skipTest("not today")


    instantiate_device_type_tests(TestThings, globals())
"""
ENTRIES = [
    Entry(["test_things.py::*::test_impossible_cuda"], "cannot be"),
    Entry(["test_things.py::*::test_listed_*", "test_things.py::*::test_gone"], "not so"),
    Entry(["test_others.py::*"], "another file"),
]


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("test_cuda.py::TestThingsCUDA::test_add_cuda_float32", "test_cuda.py::TestThingsCPU::test_add_cpu_float32"),
        ("test_ops.py::TestCommon::test_cat", "test_ops.py::TestCommon::test_cat"),
    ],
)
def test_twins(test: str, name: str) -> None:
    assert twin(test) == name


def test_what_counts_against_cuda(tmp_path: Path) -> None:
    (tmp_path / "test_things.py").write_text(textwrap.dedent(TESTS))
    options = argparse.Namespace(folder=tmp_path, tests="", jobs=1, timeout=100)
    report = check("test_things.py", options, ENTRIES)
    assert report.counts == {"passed": 2, "skipped": 1, "fails without torchdevice too": 1}
    assert report.skipped == {"not today": 1}
    assert report.listed == {"test_things.py::TestThingsCUDA::test_impossible_cuda": "cannot be"}
    assert list(report.unlisted) == ["test_things.py::TestThingsCUDA::test_fails_on_cuda_cuda"]
    assert "only the CPU" in report.unlisted["test_things.py::TestThingsCUDA::test_fails_on_cuda_cuda"]
    assert report.untrue == [
        "test_things.py::TestThingsCUDA::test_listed_and_passing_cuda: passes, but the ledger says: not so",
        "test_things.py::*::test_gone: names nothing, but the ledger says: not so",
    ]


def test_the_ledger_loads() -> None:
    assert load(LEDGER, Entry)
