"""The check of commit messages."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.ci.conftest import LoadScript


@pytest.fixture
def check(load_script: LoadScript) -> ModuleType:
    return load_script("commits")


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        ("Add a door\n\nThe room had none.\n", []),
        ("x" * 72 + "\n\nWhy.", []),
        ("x" * 73 + "\n\nWhy.", ["the subject has 73 characters, more than 72"]),
        ("Add a door", ["no body says why"]),
        ("Add a door\n\n  \n", ["no body says why"]),
        ("Add a door\nThe room had none.", ["no empty line follows the subject"]),
        ("Merge branch 'doors'", []),
    ],
)
def test_messages(check: ModuleType, message: str, wrong: list[str]) -> None:
    assert check.mistakes(message) == wrong


def test_a_message_from_the_editor(check: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "COMMIT_EDITMSG"
    written.write_text("Add a door\n\n# Please enter\n# ------------------------ >8 ------------------------\ndiff\n")
    assert check.main(["--file", str(written)]) == 1
    assert capsys.readouterr().err == f"{written}: no body says why\n"


def test_commits_since_a_base(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    for message in ("Before the base", "Add a door\n\nWhy.\n\nMore.", "Paint it", "Open it\n\nWhy."):
        git("commit", "-q", "--allow-empty", "-m", message)
    monkeypatch.chdir(tmp_path)
    assert check.main(["HEAD~3"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": no body says why")
    assert check.main(["HEAD~1"]) == 0
