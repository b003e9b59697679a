"""Another project's tests, made here: what they do on two devices, and what counts against cuda."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from torchdevice.testing.suite import Outcome, Suite, SuiteError, compare

# Stands in for the device; no test of it needs torch.
TESTS = """
    import os
    import unittest

    import pytest
    from base import Inherited

    CUDA = os.environ["DEVICE"] == "cuda"


    def test_passes():
        pass

    def test_fails_on_both():
        assert False, "everywhere"

    @pytest.mark.parametrize("text", ["[a::b]", "ü", "two\\nlines"])
    def test_fails_on_cuda(text):
        assert not CUDA, "only here"

    @pytest.mark.skipif(CUDA, reason="not today")
    def test_is_skipped():
        pass

    @pytest.mark.xfail(reason="known")
    def test_is_expected_to_fail():
        assert False

    @pytest.fixture
    def broken():
        yield
        assert not CUDA, "while tidying up"

    def test_fails_at_its_end(broken):
        pass

    if CUDA:
        def test_of_cuda_alone():
            assert False, "no twin"

    class TestHere(Inherited):
        pass
"""
BASE = """
    class Inherited:
        def test_inherited(self):
            import test_things
            assert not test_things.CUDA, "inherited"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "test_things.py").write_text(textwrap.dedent(TESTS))
    (tmp_path / "base.py").write_text(textwrap.dedent(BASE))
    (tmp_path / "test_unimportable.py").write_text("import nothing_of_that_name")
    (tmp_path / "test_cuda_cannot_import.py").write_text(
        "import os\nassert os.environ['DEVICE'] != 'cuda'\ndef test_x(): pass"
    )
    return tmp_path


def suite(project: Path, device: str, *options: str) -> Suite:
    own = ["-c", "/dev/null", "--rootdir=.", *options]
    return Suite(project, own, {"DEVICE": device, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}, [project])


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["one process", "workers"])
def test_what_counts_against_cuda(project: Path, workers: list[str]) -> None:
    cuda, cpu = suite(project, "cuda", *workers), suite(project, "cpu", *workers)
    found = compare(cuda, cpu, ["test_things.py"])
    assert {name.partition("::")[2] for name in found.on_cuda_alone} == {
        "test_fails_on_cuda[[a::b]]",
        "test_fails_on_cuda[\\xfc]",
        "test_fails_on_cuda[two\\nlines]",
        "test_fails_at_its_end",
        "test_of_cuda_alone",
        "TestHere::test_inherited",
    }
    assert list(found.on_both) == ["test_things.py::test_fails_on_both"]
    assert found.on_cuda_alone["test_things.py::TestHere::test_inherited"].headline() == "AssertionError: inherited"
    assert found.outcomes["test_things.py::test_passes"] == Outcome("passed")
    assert found.outcomes["test_things.py::test_is_skipped"] == Outcome("skipped", "not today")
    assert found.outcomes["test_things.py::test_is_expected_to_fail"] == Outcome("skipped", "known")


def test_a_choice_is_made_on_cuda_alone(project: Path) -> None:
    found = compare(
        suite(project, "cuda"), suite(project, "cpu"), ["test_things.py"], choice=["-k", "test_fails", "-x"]
    )
    assert list(found.outcomes) == ["test_things.py::test_fails_on_both"]
    assert list(found.on_both) == ["test_things.py::test_fails_on_both"]


def test_twins_have_other_names(project: Path) -> None:
    found = compare(
        suite(project, "cuda"),
        suite(project, "cpu"),
        ["test_things.py"],
        choice=["-k", "test_of_cuda_alone"],
        twin=lambda name: name.replace("of_cuda_alone", "fails_on_both"),
    )
    assert list(found.on_both) == ["test_things.py::test_of_cuda_alone"]


def test_files_that_cannot_be_imported(project: Path) -> None:
    files = ["test_unimportable.py", "test_cuda_cannot_import.py"]
    found = compare(suite(project, "cuda"), suite(project, "cpu"), files)
    assert list(found.on_both) == ["test_unimportable.py"]
    assert list(found.on_cuda_alone) == ["test_cuda_cannot_import.py"]


def test_what_is_no_test_is_an_error(project: Path) -> None:
    with pytest.raises(SuiteError, match="pytest ended with 4\n(.|\n)*file or directory not found: test_nothing.py"):
        suite(project, "cpu").run(["test_nothing.py"])


def test_a_crash_is_an_error(project: Path) -> None:
    (project / "test_crash.py").write_text("import os\ndef test_x(): os._exit(9)")
    with pytest.raises(SuiteError, match="pytest ended with 9"):
        suite(project, "cpu").run(["test_crash.py"])
