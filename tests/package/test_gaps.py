"""`torchdevice gaps`: from the catalogue, from signatures with torchdevice and without, from another torch's wheel."""

from __future__ import annotations

import argparse
import json
import re
import zipfile
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

pytest.importorskip("pydantic")

from tests.docs.fields import assert_documented
from torchdevice.catalogue import gaps, releases, store, uses
from torchdevice.catalogue.gaps import Gap
from torchdevice.catalogue.schema import Catalogue, Evidence, Record, Status
from torchdevice.cli import gaps as command

OLD = {
    "torch/nn/modules/linear.py": "class Linear:\n    def forward(self, input): ...\n    def _private(self): ...",
    "torch/functional.py": "def einsum(equation, *operands): ...\ndef gone(): ...\ndef _hidden(): ...",
    "torch/_private.py": "def nobody(): ...",
    "torch/_C/_VariableFunctions.pyi": "def add(input, other): ...\ndef add(input, other, *, alpha): ...",
    "torch/_C/__init__.pyi": "class TensorBase:\n    def add_(self, other): ...",
    "torch/template.py": "def {name}(): ...",
}
NEW = {
    **OLD,
    "torch/functional.py": "def einsum(equation, *operands, path=None): ...\ndef fresh(): ...",
    "torch/_C/__init__.pyi": "class TensorBase:\n    def add_(self, other, out): ...",
}


def wheel(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return path


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path / "torch"


def test_a_wheel_and_a_folder_are_read_alike(tmp_path: Path) -> None:
    names = releases.read(wheel(tmp_path / "torch.whl", OLD))
    assert names == releases.read(folder(tmp_path, OLD))
    assert names == {
        "torch.nn.modules.linear.Linear": frozenset(),
        "torch.nn.modules.linear.Linear.forward": {"input"},
        "torch.functional.einsum": {"equation"},
        "torch.functional.gone": frozenset(),
        "torch.add": {"input", "other", "alpha"},
        "torch.Tensor.add_": {"other"},
    }


def test_what_is_no_torch(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", wheel(tmp_path / "other.whl", {"other/__init__.py": ""})):
        with pytest.raises(releases.ReleaseError) as caught:
            releases.read(path)
        assert str(caught.value) == (
            f"{path} is neither a wheel of torch nor the folder of one. To get a wheel: "
            "pip download --no-deps torch==VERSION"
        )


def test_another_release(tmp_path: Path) -> None:
    old, new = (releases.read(wheel(tmp_path / f"{i}.whl", files)) for i, files in enumerate((OLD, NEW)))
    assert gaps.of_release(old, new, "2.15") == [
        Gap("torch.functional.fresh", "new", "in 2.15"),
        Gap("torch.functional.gone", "removed", "in 2.15"),
        Gap("torch.Tensor.add_", "parameters", "in 2.15 also out"),
        Gap("torch.functional.einsum", "parameters", "in 2.15 also path"),
    ]
    assert gaps.of_release(old, old, "2.15") == []


def test_the_installed_torch_can_be_read() -> None:
    import torch

    names = releases.read(Path(torch.__file__).parent)
    assert len(names) > 5_000
    assert {"input", "dim", "dtype"} <= names["torch.softmax"]
    assert "torch.Tensor.add_" in names


def test_torchdevice_changes_no_signature(tmp_path: Path) -> None:
    assert gaps.of_patches(tmp_path) == []


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    seen = Evidence(basis="ran", torch="2.13.0", date=date(2026, 11, 30), by="OpInfo", samples=1)

    def record(name: str, value: str, reason: str = "", note: str = "") -> Record:
        status = {"cuda over cpu": Status(value=value, reason=reason, evidence=seen)}
        fields = {"kind": "function", "category": "torch", "first_seen": "2.13", "last_seen": "2.13"}
        return Record(name=name, status=status, note=note, **fields)

    records = [
        record("torch.good", "match"),
        record("torch.bad", "unsupported", "RuntimeError: a | b"),
        record("torch.known", "unsupported", "no", note="as on a GPU"),
        record("torch.other", "modified", "strides"),
    ]
    path = tmp_path / "catalogue.json"
    store.save(Catalogue(torch="2.13", records={one.name: one for one in records}), path)
    return path


def test_the_catalogues(catalogue: Path) -> None:
    found = gaps.of_catalogue(store.load(catalogue, "2.13"))
    assert found == [
        Gap("torch.bad", "unsupported", "cuda over cpu: RuntimeError: a | b"),
        Gap("torch.other", "modified", "cuda over cpu: strides"),
    ]
    used = gaps.with_uses(found, Counter({"torch.other": 3}))
    assert [(one.name, one.uses, one.severity) for one in used] == [
        ("torch.other", 3, "medium"), ("torch.bad", 0, "medium"),
    ]  # fmt: skip
    assert gaps.to_markdown(used, "somewhere").splitlines()[-1] == (
        "| `torch.bad` | unsupported | medium | 0 | cuda over cpu: RuntimeError: a \\| b | give it a kernel or an "
        "answer, or one clear error that the ledger lists |"
    )


def test_uses_are_counted_by_what_imports_make_of_names(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import torch as t\nfrom torch.nn import functional as F\nfrom torch import add\n"
        "F.relu(t.add(1, 2)); add(1, 2); F.relu(3); other.add(1)\n"
    )
    (tmp_path / "broken.py").write_text("def (")
    counts = uses.count([tmp_path])
    assert {name: counts[name] for name in ("torch.add", "torch.nn.functional.relu", "torch.other")} == {
        "torch.add": 2, "torch.nn.functional.relu": 2, "torch.other": 0,
    }  # fmt: skip


def options(catalogue: Path, **values: object) -> argparse.Namespace:
    fields: dict[str, object] = {"file": catalogue, "against": None, "used_by": [], "json": False, "out": None}
    return argparse.Namespace(**{**fields, **values})


def test_the_command(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gaps, "of_patches", lambda folder: [])
    assert command.gaps(options(catalogue, out=tmp_path / "gaps.md")) == 1
    assert capsys.readouterr().out == (
        "medium      0  unsupported  torch.bad  cuda over cpu: RuntimeError: a | b\n"
        "low         0  modified     torch.other  cuda over cpu: strides\n"
        "2 gaps: 1 unsupported, 1 modified\n"
    )
    assert (
        (tmp_path / "gaps.md")
        .read_text()
        .startswith(f"# Gaps\n\nMade by `python -m torchdevice gaps`. Uses were counted in {uses.shipped()}.\n")
    )
    assert command.gaps(options(catalogue, json=True)) == 1
    data = json.loads(capsys.readouterr().out)
    assert_documented("gaps", data)
    assert [one["severity"] for one in data] == ["medium", "low"]
    assert command.gaps(options(catalogue, used_by=[tmp_path / "none"])) == 2
    assert capsys.readouterr().err == f"torchdevice gaps: there is no {tmp_path / 'none'}\n"
    assert command.gaps(options(tmp_path / "none.json")) == 2
    assert capsys.readouterr().err == (
        f"torchdevice gaps: {tmp_path / 'none.json'} is empty: `python -m torchdevice catalogue update` makes it\n"
    )
    assert command.gaps(options(catalogue, against=tmp_path)) == 2
    assert "is neither a wheel of torch nor the folder of one" in capsys.readouterr().err


def test_public_code_counts_where_no_program_is_named(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gaps, "of_patches", lambda folder: [])
    table = uses.Uses(["some-1.0"], "2026-11-30", Counter({"torch.bad": 5}))
    monkeypatch.setattr(uses, "shipped", lambda: table)
    assert command.gaps(options(catalogue)) == 1
    assert capsys.readouterr().out.startswith("high        5  unsupported  torch.bad ")
    (tmp_path / "program.py").write_text("import torch\ntorch.other()\n")
    assert command.gaps(options(catalogue, used_by=[tmp_path / "program.py"])) == 1
    assert capsys.readouterr().out.startswith("medium      1  modified     torch.other ")


def test_the_table_of_uses_says_where_it_comes_from() -> None:
    table = uses.shipped()
    assert len(table.sources) >= 10
    assert all(re.fullmatch(r"\w+-[\d.]+", source) for source in table.sources)
    assert date.fromisoformat(table.date)
    assert table.counts["torch.nn.Linear"] > 1000
    assert min(table.counts.values()) >= uses.LEAST


def test_a_table_is_made_of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program.py").write_text("import torch\n" + "torch.add(1, 2)\n" * 3 + "torch.sub(1, 2)\n")
    monkeypatch.setattr(uses, "TABLE", tmp_path / "uses.json")
    monkeypatch.setattr("sys.argv", ["uses", f"mine-1.0={tmp_path}"])
    assert uses.main() == 0
    table = uses.shipped()
    assert (table.sources, table.counts) == (["mine-1.0"], {"torch.add": 3})
    monkeypatch.setattr("sys.argv", ["uses", "mine"])
    assert uses.main() == 2
