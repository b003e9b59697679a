"""What `torchdevice scan` reads, with the right lines, and what it says of what it cannot read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from torchdevice.scan import files, notebook
from torchdevice.scan.analysis import scan
from torchdevice.scan.files import TargetError
from torchdevice.scan.findings import Report


def write(folder: Path, texts: dict[str, str | bytes]) -> Path:
    """Files by their names."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def cells(*sources: object, **keywords: object) -> str:
    content = {"cells": [{"cell_type": "code", "source": source} for source in sources], "nbformat": 4}
    return json.dumps(content, indent=1, **keywords)


def places(report: Report) -> list[tuple[str, int, str]]:
    return [(Path(one.path).name, one.line, one.rule.id) for one in report.findings]


# ---------------------------------------------------------------- what is read


def test_a_folder_is_read_with_all_that_is_below_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "import cupy",
            "b/c.py": "\nimport cupy",
            "n.ipynb": cells("import cupy"),
            "k.cu": "\n\nint x = f<<<1, 2>>>();",
            "requirements.txt": "# none\ncupy-cuda12x",
            "pyproject.toml": '[project]\ndependencies = ["cupy"]',
            "readme.md": "import cupy",
        },
    )
    for name in (".venv", "made", "build", "node_modules"):
        write(tmp_path / name, {"a.py": "import cupy"})
    (tmp_path / "made" / "pyvenv.cfg").touch()
    report = scan(str(tmp_path))
    assert report.files == 6
    assert places(report) == [
        ("a.py", 1, "cupy"),
        ("c.py", 2, "cupy"),
        ("k.cu", 3, "cuda-source"),
        ("n.ipynb", 5, "cupy"),
        ("pyproject.toml", 2, "cupy"),
        ("requirements.txt", 2, "cupy"),
    ]


def test_paths_are_shown_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.py": "import cupy"})
    monkeypatch.chdir(tmp_path)
    assert [one.place for one in scan(".").findings] == ["a.py:1"]
    monkeypatch.chdir("/")
    assert [one.place for one in scan(str(tmp_path)).findings] in (
        [f"{tmp_path}/a.py:1"],
        [f"{str(tmp_path)[1:]}/a.py:1"],
    )


def test_modules_of_the_program_itself_are_not_those_of_others(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "main.py": "import triton, cupy, flash_attn, apex.optimizers",
            "triton.py": "",
            "cupy/__init__.py": "",
            "tools/run.py": "import triton, flash_attn, apex.optimizers",
            "tools/flash_attn.py": "",
            "package/__init__.py": "",
            "package/apex.py": "",
            "package/use.py": "import apex.optimizers\nimport package.apex",
        },
    )
    assert places(scan(str(tmp_path))) == [
        ("main.py", 1, "apex-extension"),
        ("main.py", 1, "flash-attn"),
        ("use.py", 1, "apex-extension"),
        ("run.py", 1, "apex-extension"),
    ]
    assert places(scan(str(tmp_path / "package"))) == [("use.py", 1, "apex-extension")]


def test_a_module_in_a_folder_of_that_name_is_the_program_s_own(tmp_path: Path) -> None:
    """Whose folder somebody puts into Python's path."""
    write(
        tmp_path,
        {
            "lib/__init__.py": "",
            "lib/apex/optimizers/__init__.py": "",
            "lib/torch/cuda.py": "",
            "lib/use.py": "import apex.optimizers, flash_attn\nfrom apex.optimizers import x\nfrom apex import mlp",
            "lib/ask.py": "import torch.cuda\ntorch.cuda.utilization()",
        },
    )
    assert places(scan(str(tmp_path))) == [
        ("ask.py", 2, "cuda"),
        ("ask.py", 2, "raises-here"),
        ("use.py", 1, "flash-attn"),
        ("use.py", 3, "apex-extension"),
    ]


@pytest.mark.parametrize("header", ["", "# -*- coding: latin-1 -*-\n", "\ufeff"])
def test_sources_are_read_in_their_encoding(tmp_path: Path, header: str) -> None:
    text = f"{header}name = 'Ä'\r\nimport cupy"
    write(tmp_path, {"a.py": text.encode("latin-1" if "latin" in header else "utf-8")})
    report = scan(str(tmp_path))
    assert not report.unread
    assert [one.line for one in report.findings] == [3 if "latin" in header else 2]


def test_requirements(tmp_path: Path) -> None:
    text = """
        torch==2.13.0
        torch>=1.9,<2
        torch ~= 2.12  # any later one
        torch==1.13.1+cu117
        flash_attn ; python_version < "3.12"
        Flash-Attn>=2
        -r other.txt
        numpy
        torch
        bitsandbytes[x]==0.1
    """
    write(tmp_path, {"requirements.txt": text})
    found = [(one.line, one.rule.id, one.guard) for one in scan(str(tmp_path)).findings]
    assert found == [
        (3, "torch-release", None),
        (5, "torch-release", None),
        (6, "flash-attn", "it has a marker of environments"),
        (7, "flash-attn", None),
        (11, "bitsandbytes", None),
    ]
    (tmp_path / "requirements.txt").rename(tmp_path / "requirements-gpu.txt")
    assert scan(str(tmp_path)).fits


def test_projects_and_setup_files(tmp_path: Path) -> None:
    project = """
        [build-system]
        requires = ["cupy"]
        [project]
        name = "cupy"
        dependencies = [
          "numpy", "cupy[x]>=1",
          'flash-attn; sys_platform == "linux"',
        ]
        keywords = ["cupy"]
        [project.optional-dependencies]
        gpu = ["cupy"]
        [dependency-groups]
        test = [
          "cupy",
        ]
        [tool.x]
        cupy = ["cupy"]
    """
    setup = "from setuptools import setup\nsetup(name='cupy',\n  install_requires=['numpy',\n  'cupy'])"
    write(tmp_path, {"pyproject.toml": project, "setup.py": setup})
    assert [(one.line, one.guard) for one in scan(str(tmp_path)).findings] == [
        (7, None),
        (8, "it has a marker of environments"),
        (12, "[project.optional-dependencies] is optional"),
        (15, "[dependency-groups] is optional"),
        (4, None),
    ]


# ---------------------------------------------------------------- notebooks


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_notebook_has_the_lines_of_its_file(tmp_path: Path, ensure_ascii: bool) -> None:
    sources = [
        ["!nvidia-smi\n", "!pip install -q flash-attn 'torch==1.13'\n", "%pdb\n", "x = 'ü'\n", "\n", "import cupy"],
        "%%bash\nimport cupy",
        ["%%time\n", "import cupy"],
        ["if x:\n", "    !ls\n", "import cupy?"],
    ]  # fmt: skip
    write(tmp_path, {"a.ipynb": cells(*sources, ensure_ascii=ensure_ascii)})
    report = scan(str(tmp_path / "a.ipynb"))
    assert not report.unread
    lines = (tmp_path / "a.ipynb").read_text().splitlines()
    found = [(one.rule.id, one.cell, lines[one.line - 1].strip().rstrip(",")) for one in report.findings]
    assert found == [
        ("nvidia-smi-in-shell", 1, '"!nvidia-smi\\n"'),
        ("flash-attn", 1, "\"!pip install -q flash-attn 'torch==1.13'\\n\""),
        ("torch-release", 1, "\"!pip install -q flash-attn 'torch==1.13'\\n\""),
        ("cupy", 1, '"import cupy"'),
        ("cupy", 3, '"import cupy"'),
    ]
    assert report.findings[-1].line > report.findings[-2].line


def test_cells_of_one_text_have_its_line() -> None:
    read = notebook.read(cells("import a\nimport b", "import a"))
    assert read.code == "import a\nimport b\nimport a"
    assert read.places == ((5, 1), (5, 1), (9, 2))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no notebook: Expecting property name"),
        ("", "no notebook: Expecting value"),
        ("[]", "no notebook of format 4: there is no list of cells"),
        ('{"worksheets": []}', "no notebook of format 4: there is no list of cells"),
        ("[" * 100_000, "no notebook: "),
        (cells("x = 1", ["y = (\n", "2"]), "no Python 3: '(' was never closed, line 10, cell 2"),
    ],
)
def test_broken_notebooks(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, {"a.ipynb": text})
    (unread,) = scan(str(tmp_path)).unread
    assert unread.reason.startswith(reason)


def test_odd_cells_are_passed_over(tmp_path: Path) -> None:
    content = {"cells": [1, {}, {"cell_type": "code"}, {"cell_type": "code", "source": [1, "import cupy"]}]}
    write(tmp_path, {"a.ipynb": json.dumps(content)})
    assert places(scan(str(tmp_path))) == [("a.ipynb", 1, "cupy")]


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"print 'old'", "no Python 3: Missing parentheses in call to 'print'. Did you mean print(...)?, line 1"),
        (b"a = 1\n\xff\xfe", "cannot be decoded: "),
        (b"# coding: klingon\n", "cannot be decoded: unknown encoding: klingon"),
        (b"a\x00b", "no Python 3: "),
        (b"x = " + b"(" * 5000, "no Python 3: "),
        (b"x = " + b"-" * 200_000 + b"1", "no Python 3: "),
    ],
)
def test_one_file_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path, content: bytes, reason: str) -> None:
    write(tmp_path, {"a.py": content, "b.py": "import cupy"})
    report = scan(str(tmp_path))
    assert (report.files, places(report)) == (1, [("b.py", 1, "cupy")])
    (unread,) = report.unread
    assert unread.reason.startswith(reason)


def test_other_files_that_cannot_be_decoded(tmp_path: Path) -> None:
    write(tmp_path, {"a.cu": b"\xff", "requirements.txt": b"cupy\xff", "b.py": ""})
    assert [one.reason for one in scan(str(tmp_path)).unread] == ["not UTF-8: byte 0", "not UTF-8: byte 4"]


def test_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read all, so that the error is made."""
    write(tmp_path, {"a.py": "import cupy", "b.py": "import cupy"})
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "a.py":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    report = scan(str(tmp_path))
    assert [one.reason for one in report.unread] == ["Permission denied"]
    assert places(report) == [("b.py", 1, "cupy")]


def test_links_that_lead_nowhere_or_round_are_no_files(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import cupy"})
    (tmp_path / "b.py").symlink_to("nowhere.py")
    (tmp_path / "c").symlink_to(tmp_path)
    assert scan(str(tmp_path)).files == 1


# ---------------------------------------------------------------- what there is not


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no/such/folder", "no/such/folder: no such file or folder"),
        ("no_such.py", "no_such.py: no such file or folder"),
        ("pytset", "pytset: no file, no folder, and no package that is installed here; did you mean pytest?"),
        ("xyzzy-plugh", "xyzzy-plugh: no file, no folder, and no package that is installed here"),
        ("", ": no file, no folder, and no package that is installed here"),
        ("/dev/null", "/dev/null: neither a file nor a folder"),
    ],
)
def test_targets_that_there_are_not(target: str, message: str) -> None:
    with pytest.raises(TargetError, match=f"^{re.escape(message)}$"):
        scan(target)


def test_an_empty_folder_and_a_file_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(
        TargetError, match=r"nothing in this folder can be read: no Python, notebook, requirements or C\+\+$"
    ):
        scan(str(tmp_path))
    write(tmp_path, {"a.txt": "import cupy"})
    with pytest.raises(TargetError, match=r"a\.txt: neither Python, a notebook, requirements nor C\+\+$"):
        scan(str(tmp_path / "a.txt"))


def test_packages_are_found_by_module_and_by_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being imported, which this one would not survive."""
    write(
        tmp_path,
        {
            "brittle_thing/__init__.py": "import cupy\nraise SystemExit('imported')",
            "brittle_thing/a.py": "",
            "alone_thing.py": "import cupy",
        },
    )
    info = tmp_path / "Brittle_Project-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Brittle-Project\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("brittle_thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir("/")
    for name in ("brittle_thing", "Brittle-Project", "brittle-project"):
        report = scan(name)
        assert (report.files, [one.line for one in report.findings]) == (2, [1])
    assert scan("alone_thing").files == 1
    with pytest.raises(TargetError, match="did you mean brittle_thing"):
        scan("britle_thing")


def test_the_kinds_of_files() -> None:
    kinds = {name: files.kind_of(Path(name)) for name in ("a.py", "a.pyi", "requirements-dev.txt", "x.hpp", "setup.py")}
    assert list(kinds.values()) == [files.PYTHON, None, files.REQUIREMENTS, files.CPP, files.PYTHON]
