"""A program under `run`, `check` and `fit` meets what it meets under Python itself, and ends as it does there."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from torchdevice.program import Program

ROOT = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable]
RUN = [sys.executable, "-m", "torchdevice", "run"]
CHECK = [sys.executable, "-m", "torchdevice", "check"]
FIT = [sys.executable, "-m", "torchdevice", "fit", "--profile", "t4"]
#: As the script of an installation, whose folder stands first in Python's path.
SCRIPT = [sys.executable, "-c", "import sys; sys.path[0] = '/usr'; from torchdevice.cli import main; sys.exit(main())"]

PROBE = """\
import os, sys
main = sys.modules["__main__"]
print(__name__, sys.argv, sys.path[:2], __file__, vars(main) is globals(), main.__spec__ is not None)
print(sys._getframe().f_code.co_filename, os.getcwd(), "annotations" in globals(), __loader__ is not None)
"""


def run(command: list[str], *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    environment.pop("TORCHDEVICE_REPORT", None)
    return subprocess.run(
        [*command, *words], env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Programs of each kind, one of them behind a link."""
    (tmp_path / "program.py").write_text(PROBE)
    (tmp_path / "package" / "below").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text("import sys; print(sys.argv)\n")
    for name in ("__main__.py", "part.py", "below/__main__.py"):
        (tmp_path / "package" / name).write_text(PROBE)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", PROBE)
    py_compile.compile(str(tmp_path / "program.py"), str(tmp_path / "compiled.pyc"), "compiled.py")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "link.py").symlink_to(tmp_path / "package" / "part.py")
    return tmp_path


WORDS = [
    ("program.py", "-x", "--json"),
    ("./program.py",),
    ("package/../program.py",),
    ("links/link.py",),
    ("package/below", "a b"),
    ("archive.zip",),
    ("compiled.pyc",),
    ("-m", "package.part", "-m", "x"),
    ("-m", "package"),
    ("-m", "package.below"),
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_program_meets_what_it_meets_under_python(words: tuple[str, ...], folder: Path) -> None:
    assert_alike(RUN, words, folder)


OTHERS = {"check": CHECK, "fit": FIT, "script": [*SCRIPT, "run"], "fit by script": [*SCRIPT, *FIT[3:]]}


@pytest.mark.parametrize("command", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("words", [("program.py", "-x"), ("-m", "package.part", "x")], ids=" ".join)
def test_under_the_other_commands_too(command: list[str], words: tuple[str, ...], folder: Path) -> None:
    assert_alike(command, words, folder)


def assert_alike(command: list[str], words: tuple[str, ...], folder: Path) -> None:
    expected, found = run(PYTHON, *words, folder=folder), run(command, *words, folder=folder)
    assert expected.returncode == 0, expected.stderr
    assert found.stdout == expected.stdout, found.stderr
    assert found.returncode == 0


@pytest.mark.skipif(sys.version_info < (3, 11), reason="such an option came with Python 3.11")
@pytest.mark.parametrize("words", [("program.py",), ("-m", "package"), ("package/below",)], ids=" ".join)
def test_a_path_that_python_was_told_to_leave_as_it_is(
    words: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert_alike(RUN, words, folder)


ENDINGS = ["", "sys.exit()", "sys.exit(5)", "sys.exit(True)", "sys.exit(256)", "sys.exit('no')", "sys.exit(2.5)"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_how_it_ends(ending: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(f"import sys\n{ending}")
    expected, found = run(PYTHON, "program.py", folder=tmp_path), run(RUN, "program.py", folder=tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (expected.returncode, "", expected.stderr)


@pytest.mark.parametrize(("command", "ending"), [(CHECK, "sys.exit('no')"), (FIT, "sys.exit(['no'])")])
def test_how_it_ends_under_the_other_commands(command: list[str], ending: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(f"import sys\n{ending}")
    found = run(command, "program.py", folder=tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(run(PYTHON, "program.py", folder=tmp_path).stderr)


def test_its_module_stays_until_python_ends(tmp_path: Path) -> None:
    """What was registered to run at the end finds the program's names by its module."""
    (tmp_path / "program.py").write_text(
        "import atexit, sys\nname = 'kept'\natexit.register(lambda: print(sys.modules['__main__'].name))\n"
    )
    assert run(RUN, "program.py", folder=tmp_path).stdout == "kept\n"


@pytest.mark.parametrize("command", [RUN, CHECK, FIT], ids=["run", "check", "fit"])
@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (("nowhere.py",), "no file 'nowhere.py'"),
        (("empty",), "no file 'empty'"),
        (("-m",), "no module ''"),
        (("-m", "no_such_module.train"), "no module 'no_such_module.train'"),
        (("-m", ".relative"), "no module '.relative'"),
    ],
)
def test_what_is_not_there(command: list[str], words: tuple[str, ...], mistake: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = run(command, *words, folder=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == f"torchdevice {command[3]}: {mistake}\n"


def test_looking_for_a_module_leaves_the_path_alone() -> None:
    before = list(sys.path)
    assert Program("json.tool", is_module=True).mistake() is None
    assert Program("__main__x", is_module=True).mistake() == "no module '__main__x'"
    assert sys.path == before


@pytest.mark.parametrize("words", [["train.py", "-m", "x"], ["-m", "package.train", "-x"]])
def test_words(words: list[str]) -> None:
    assert Program.of(words).words == words
