"""The command line: the same as a module and as a script, each under the name by which it was called."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunPython
from torchdevice.cli.values import new_file

MODULE = [sys.executable, "-m", "torchdevice"]
#: What the script of an installation does.
SCRIPT = [sys.executable, "-c", "import sys; from torchdevice.cli import main; sys.exit(main())"]


@pytest.mark.parametrize(("command", "name"), [(MODULE, "python -m torchdevice"), (SCRIPT, "torchdevice")])
def test_usage_names_the_program_as_it_was_called(command: list[str], name: str) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    # argparse breaks the line where it is too long.
    assert re.sub(r"\n +", " ", process.stderr) == (
        f"usage: {name} [-h] {{info,run,report,check,fit,scan,why,catalogue,gaps,suite,doctor,settings}} ...\n"
        f"{name}: error: the following arguments are required: command\n"
    )
    process = subprocess.run([*command, "run", "-h"], capture_output=True, text=True, check=True)
    assert process.stdout.startswith(f"usage: {name} run [-h]")


def test_a_command_loads_no_other(run_python: RunPython) -> None:
    run_python(
        """
        import sys
        from torchdevice.cli import main
        sys.argv = ["torchdevice", "settings"]
        assert main() == 0
        loaded = {name for name in sys.modules if name.startswith("torchdevice.cli.")}
        assert loaded == {"torchdevice.cli.settings"}, loaded
        """
    )


def test_the_reference_is_made_without_torch(run_python: RunPython) -> None:
    run_python("import sys, torchdevice.cli as cli; cli.make_parser('x'); assert 'torch' not in sys.modules")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnu", "program.py"), "there is no command 'rnu'; did you mean 'run'?"),
        (("frobnicate",), "there is no command 'frobnicate'\n"),
        (("catalogue", "update", "--jobs", "0"), "argument --jobs: must be 1 or more, got '0'"),
        (("gaps", "--out", "no/such.md"), "argument --out: cannot write to no/such.md: no such folder"),
    ],
)
def test_what_is_not_understood(arguments: tuple[str, ...], message: str) -> None:
    process = subprocess.run([*MODULE, *arguments], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert message in process.stderr


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_commands(command: list[str], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys, torch; print(sys.path[0], torch.ones(1).cuda().device); sys.exit(4)")
    process = subprocess.run([*command, "run", str(program)], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (4, f"{tmp_path} cuda:0\n", "")
    process = subprocess.run([*command, "info"], capture_output=True, text=True, check=True)
    assert process.stdout.startswith("torchdevice     active: ")


def test_whether_a_file_can_be_written_is_tried_before_the_program_runs(tmp_path: Path) -> None:
    new, old, broken, pipe = (tmp_path / name for name in ("new", "old", "broken", "pipe"))
    assert new_file(str(new)) == new
    assert not new.exists()
    old.write_text("kept")
    assert new_file(str(old)) == old
    assert old.read_text() == "kept"
    os.mkfifo(pipe)
    assert new_file(str(pipe)) == pipe
    broken.symlink_to("nowhere/file")
    with pytest.raises(argparse.ArgumentTypeError, match=f"cannot write to {broken}: No such file or directory"):
        new_file(str(broken))


@pytest.mark.parametrize(
    "command",
    [("run", "--json"), ("run", "--html"), ("check", "--json"), ("fit", "--profile=h100", "--json")],
    ids=" ".join,
)
def test_a_file_that_cannot_be_written_any_more(command: tuple[str, ...], tmp_path: Path) -> None:
    """The program took its folder away; it is told, and nothing else changes."""
    folder, program = tmp_path / "out", tmp_path / "program.py"
    folder.mkdir()
    program.write_text(
        f"import os, torch\nif os.path.exists({str(folder)!r}): os.rmdir({str(folder)!r})\ntorch.ones(1)"
    )
    call = [*MODULE, *command, str(folder / "x"), str(program)]
    process = subprocess.run(call, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert f"torchdevice {command[0]}: cannot write {folder}/x: No such file or directory\n" in process.stderr
