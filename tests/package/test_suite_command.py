"""`torchdevice suite` as people call it: profiles, bad input, a project with torch, PyTorch's own kind of tests."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.docs.fields import assert_documented
from torchdevice.testing.ledger import Entry
from torchdevice.testing.ledger import load as load_ledger
from torchdevice.testing.suite.profile import Profile, ProfileError, choose, load, project_name, shipped

TESTS = """
    import torch

    def test_adds():
        assert torch.cuda.is_available() == (torch.empty(0).cuda().device.type == "cuda")

    def test_default():
        assert (torch.ones(2) + 1).sum() == 4
        print(torch.ones(2).device)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "things-1.0"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_things.py").write_text(textwrap.dedent(TESTS))
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchdevice", "suite", *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False, timeout=200)


def test_a_run_of_all_tests(project: Path) -> None:
    process = run(project, "things-1.0", "--json")
    assert process.returncode == 0, process.stderr
    data = json.loads(process.stdout)
    assert data["counts"]["passes"] == 1
    assert data["counts"]["only on cpu"] == 1  # a CPU build has no cuda there
    assert data["facts"]["project"] == "things 1.0"
    assert {file["is_done"] for file in data["files"]} == {True}
    assert all(file["peak"] > 2**20 for file in data["files"])
    assert "1 file of tests, profile none, 2 at a time" in process.stderr
    assert "2 of 2: cuda 2 passed, 0 failed, 0 skipped; cpu 1 passed, 1 failed" in process.stderr
    written = {path.name for path in (project.parent / "out/suite/things").iterdir()}
    assert written == {"journal", "logs", "run.json", "results.json", "report.md", "report.html"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder nowhere"),
        ([], "name a PROJECT"),
        (["things-1.0", "test_gone.py"], "there is no test_gone.py in "),
        (["things-1.0", "--profile", "transformer"], "there is no profile 'transformer'; did you mean 'transformers'?"),
        (["things-1.0", "--profile", "mine.toml"], "cannot read mine.toml: No such file or directory"),
        (["things-1.0", "empty"], "has no tests: no file test_*.py or *_test.py in empty"),
        (["things-1.0", "-k", "nothing_of_that_name"], "no test was run"),
        (["things-1.0", "--profile", "needy.toml"], "the tests need no_such_module: pip install no_such_module"),
    ],
)
def test_bad_input(project: Path, arguments: list[str], message: str) -> None:
    (project / "empty").mkdir()
    (project.parent / "needy.toml").write_text('needs = ["no_such_module"]')
    process = run(project, *arguments)
    assert process.returncode == 2
    assert f"torchdevice suite: {message}" in process.stderr or message in process.stderr.splitlines()[-1]


@pytest.mark.parametrize("wrong", [["--jobs", "0"], ["--timeout", "-1"], ["--memory", "much"]])
def test_wrong_options(project: Path, wrong: list[str]) -> None:
    process = run(project, "things-1.0", *wrong)
    assert process.returncode == 2
    assert f"argument {wrong[0]}: must be" in process.stderr


def test_a_folder_that_cannot_be_written(project: Path) -> None:
    (project.parent / "file").write_text("")
    process = run(project, "things-1.0", "--out", "file/below")
    assert process.returncode == 2
    assert f"cannot write to {project.parent}/file/below: Not a directory" in process.stderr


@pytest.mark.parametrize("name", shipped())
def test_the_profiles_load(name: str) -> None:
    profile = load(shipped()[name])
    assert profile.about
    assert profile.names
    assert all(len(pair) == 2 for pair in profile.twins)
    if profile.ledger:
        assert load_ledger(Path(profile.ledger), Entry)


def test_there_are_profiles_for_the_libraries_that_are_promised() -> None:
    promised = (
        "transformers accelerate diffusers peft lightning timm torchmetrics safetensors einops torch_geometric torch"
    )
    assert set(shipped()) == set(promised.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("test = 1", "unknown key 'test'; did you mean 'tests'?"),
        ("tests = 1", r"tests must be list\[str\], but it is 1"),
        ("reference = 'some'", "reference must be 'all' or 'failures', but it is 'some'"),
        ("tests = [", "is no TOML: "),
    ],
)
def test_a_profile_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ProfileError, match=message):
        load(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("pyproject.toml", '[project]\nname = "Torch_Geometric"', "torch-geometric"),
        ("setup.py", 'setup(\n    name="peft",\n    version="0.21.2")', "peft"),
        ("README", "", "some-thing"),
    ],
)
def test_a_project_is_known_by_its_name(tmp_path: Path, file: str, text: str, name: str) -> None:
    folder = tmp_path / "some_thing-1.2.dev0"
    folder.mkdir()
    (folder / file).write_text(text)
    assert project_name(folder) == name
    expected = "none" if name == "some-thing" else name.replace("-", "_")
    assert choose(None, folder)[0] == expected


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("test_cuda.py::TestThingsCUDA::test_add_cuda_float32", "test_cuda.py::TestThingsCPU::test_add_cpu_float32"),
        ("test_ops.py::TestCommon::test_cat", "test_ops.py::TestCommon::test_cat"),
    ],
)
def test_twins_of_pytorchs_tests(test: str, name: str) -> None:
    assert load(shipped()["torch"]).twin(test) == name
    assert Profile().twin(test) == test


PYTORCHS = """
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

        def test_skipped(self, device):
            self.skipTest("not today")


    instantiate_device_type_tests(TestThings, globals())
"""


def test_pytorchs_own_kind_of_tests(tmp_path: Path) -> None:
    folder = tmp_path / "pytorch" / "test"
    folder.mkdir(parents=True)
    (folder / "test_things.py").write_text(textwrap.dedent(PYTORCHS))
    process = run(tmp_path / "pytorch", "pytorch", "test_things.py", "--json")
    assert process.returncode == 1, process.stderr
    data = json.loads(process.stdout)
    assert_documented("suite", data)
    assert data["facts"]["profile"] == "torch"
    found = {one["test"]: one["verdict"] for one in data["tests"]}
    assert found == {
        "test_things.py::TestThingsCUDA::test_passes_cuda": "passes",
        "test_things.py::TestThingsCUDA::test_fails_everywhere_cuda": "fails on both",
        "test_things.py::TestThingsCUDA::test_fails_on_cuda_cuda": "only on cuda",
        "test_things.py::TestThingsCUDA::test_skipped_cuda": "skipped",
    }


def test_the_default_device_of_tests_that_know_of_none(project: Path) -> None:
    process = run(project, "things-1.0", "test_things.py", "-k", "test_default", "--default-device")
    assert process.returncode == 0, process.stderr
    assert "1 passes" in process.stdout


def test_the_profiles_are_listed(project: Path) -> None:
    process = run(project, "--profiles", "--json")
    assert json.loads(process.stdout).keys() == shipped().keys()
    process = run(project, "--profiles")
    assert process.returncode == 0
    assert "accelerate      PyPI's source distribution" in process.stdout
