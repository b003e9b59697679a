"""The runner of PyTorch's own test files, on a file made here."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import pytest

from conformance.upstream.__main__ import File, check, twin

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
    {"file": "test_things.py", "tests": ["*::test_impossible_cuda", "*::test_listed_*"], "reason": "cannot be"},
    {"file": "test_others.py", "tests": ["*"], "reason": "another file"},
]


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("TestThingsCUDA::test_add_cuda_float32", "TestThingsCPU::test_add_cpu_float32"),
        ("TestCommon::test_cat", "TestCommon::test_cat"),
    ],
)
def test_twins(test: str, name: str) -> None:
    assert twin(test) == name


def test_what_counts_against_cuda(tmp_path: Path) -> None:
    (tmp_path / "test_things.py").write_text(textwrap.dedent(TESTS))
    report = check(File(tmp_path, "test_things.py", argparse.Namespace(tests="", jobs=1, timeout=100)), ENTRIES)
    assert report.counts == {"passed": 2, "skipped": 1, "fails without torchdevice too": 1}
    assert report.listed == {"TestThingsCUDA::test_impossible_cuda": "cannot be"}
    assert list(report.unlisted) == ["TestThingsCUDA::test_fails_on_cuda_cuda"]
    assert "only the CPU" in report.unlisted["TestThingsCUDA::test_fails_on_cuda_cuda"]
    assert report.passing == ["TestThingsCUDA::test_listed_and_passing_cuda"]
