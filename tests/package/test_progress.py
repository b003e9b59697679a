"""What commands say of how far they are: on a terminal, at once, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from torchdevice import progress


def on_a_terminal(*arguments: str, folder: Path) -> tuple[str, str]:
    """What a command writes to standard output, and to a terminal that is standard error."""
    ours, theirs = pty.openpty()
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run(
        [sys.executable, "-m", "torchdevice", *arguments],
        stdout=subprocess.PIPE, stderr=theirs, text=True, check=False, cwd=folder, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # nobody has the other end
            break
        if not read:
            break
        shown += read
    os.close(ours)
    return process.stdout, shown.decode()


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (("info",), "importing torch"),
        (("doctor", "--json"), "importing torch"),
        (("why", "mul.Tensor"), "importing torch"),
        (("check", "program.py"), "importing torch"),
        (("fit", "--profile", "t4", "program.py"), "importing torch"),
        (("scan", "."), "looking for files in ."),
    ],
)
def test_a_command_says_what_takes_so_long(arguments: tuple[str, ...], first: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print('of the program')\n")
    out, shown = on_a_terminal(*arguments, folder=tmp_path)
    assert out
    assert shown.startswith(f"\r\x1b[K{first}\r\x1b[K")


def test_a_listing_says_nothing(tmp_path: Path) -> None:
    assert on_a_terminal("settings", folder=tmp_path)[1] == ""


def test_it_is_taken_away_whatever_happens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    with pytest.raises(KeyError), progress.during("twelve letters"):
        raise KeyError
    assert capsys.readouterr().err == "\r\x1b[Ktwelve le\r\x1b[K"


def test_nothing_is_said_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.during("something"):
        pass
    assert capsys.readouterr().err == ""
