"""The check of csrc's layers, on small trees made here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.ci.conftest import LoadScript

FOLDERS = ["top/plugin", "top", "middle", "bottom"]


@pytest.fixture
def check(load_script: LoadScript) -> ModuleType:
    return load_script("arrows")


@pytest.fixture
def csrc(tmp_path: Path) -> Path:
    files = {
        "top/A.h": '#include <vector>\n#include "middle/B.h"\n#include "bottom/C.h"\n#include "top/X.h"\n',
        "top/inner/A.cpp": '#include "middle/B.h"\n',
        "top/plugin/P.cpp": '  #  include "top/A.h"\n// #include "unknown/A.h"\n',
        "middle/B.h": '#include "bottom/C.h"\n#include "Local.h"\n',
        "bottom/C.h": "",
    }
    for name, text in files.items():
        path = tmp_path / "csrc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "csrc"


def test_includes_are_counted(check: ModuleType, csrc: Path) -> None:
    found = check.arrows(csrc, FOLDERS)
    assert {arrow: len(lines) for arrow, lines in found.items()} == {
        ("middle", "bottom"): 1,
        ("top", "middle"): 2,
        ("top", "bottom"): 1,
        ("top/plugin", "top"): 1,
    }
    assert check.mistakes(found, FOLDERS, {}) == []
    assert check.table(found, FOLDERS).splitlines() == [
        "            top/plugin  top  middle  bottom",
        "top/plugin           .    1       .       .",
        "top                  .    .       2       1",
        "middle               .    .       .       1",
        "bottom               .    .       .       .",
    ]


def test_an_arrow_that_goes_up_is_a_mistake_unless_allowed(check: ModuleType, csrc: Path) -> None:
    (csrc / "bottom" / "C.cpp").write_text('#include "top/plugin/P.h"\n')
    found = check.arrows(csrc, FOLDERS)
    assert check.mistakes(found, FOLDERS, {}) == [
        "bottom/C.cpp includes top/plugin/: top/plugin stands above bottom",
    ]
    assert check.mistakes(found, FOLDERS, {("bottom", "top/plugin"): "why"}) == []


def test_a_reason_that_nothing_needs_is_a_mistake(check: ModuleType, csrc: Path) -> None:
    found = check.arrows(csrc, FOLDERS)
    assert check.mistakes(found, FOLDERS, {("bottom", "middle"): "why"}) == [
        "bottom -> middle: in ALLOWED of .ci/arrows.py, and not needed"
    ]


def test_a_folder_that_is_not_listed_is_a_mistake(check: ModuleType, csrc: Path) -> None:
    (csrc / "middle" / "B.cpp").write_text('#include "cellar/D.h"\n')
    assert check.mistakes(check.arrows(csrc, FOLDERS), FOLDERS, {}) == [
        "cellar: not in FOLDERS of .ci/arrows.py; say there what it stands above"
    ]


def test_another_checkout(check: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--root", str(tmp_path)]) == 2
    for folder, text in (("aten", '#include "forward/B.h"\n'), ("forward", '#include "aten/A.h"\n')):
        (tmp_path / "csrc" / folder).mkdir(parents=True)
        (tmp_path / "csrc" / folder / "X.cpp").write_text(text)
    assert check.main(["--root", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "2 folders, 2 arrows of 1 pairs, 1 upward, 2 includes"
    assert said.err.splitlines()[-1] == "forward/X.cpp includes aten/: aten stands above forward"


def test_no_arrow_of_ours_goes_up_without_a_reason(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([]) == 0, capsys.readouterr().err
