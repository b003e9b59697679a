"""The catalogue: names found by walking torch, statuses from running them, and a file that loses nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("pydantic")

from tests.docs.fields import assert_documented
from torchdevice.catalogue import extract, generated, observe, pages, runner, store
from torchdevice.catalogue.schema import Catalogue, Change, Evidence, Record, Status, schema


def record(name: str = "torch.add", **values: Any) -> Record:
    fields = {"kind": "function", "category": "torch", "first_seen": "2.13", "last_seen": "2.13", **values}
    return Record(name=name, **fields)


def evidence(**values: Any) -> Evidence:
    fields = {"basis": "ran", "torch": "2.13.0", "date": date(2026, 11, 30), "by": "OpInfo", "samples": 4, **values}
    return Evidence(**fields)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """In a process of its own: every module of torch is imported."""
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.json"
    command = [sys.executable, "-m", "torchdevice", "catalogue", "--file", str(path), "update", "--names-only"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert process.returncode == 0, process.stderr
    return store.load(path, extract.minor())


def test_names_are_found_by_themselves(extracted: Catalogue) -> None:
    """More than the predecessor's 4,269."""
    records = extracted.records
    kinds = {kind: sum(one.kind == kind for one in records.values()) for kind in ("function", "method", "operator")}
    assert len(records) > 10_000
    assert all(count > 2_000 for count in kinds.values()), kinds
    assert all(name == one.name for name, one in records.items())
    names = {
        "torch.add": "function",
        "torch.Tensor.add_": "method",
        "torch.Tensor.T": "property",
        "torch.nn.Linear": "class",
        "torch.nn.Module.to": "method",
        "torch.nn.functional.conv2d": "function",
        "torch.cuda.Stream": "class",
        "torch.optim.Adam": "class",
        "aten::add.Tensor": "operator",
    }
    assert {name: records[name].kind for name in names} == names
    assert records["torch.add"].signature == "(input, other, *, alpha=1, out=None) -> Tensor"
    assert records["torch.linalg.eigh"].summary.startswith("Computes the eigenvalue decomposition")
    assert records["aten::mm"].signature == "(Tensor self, Tensor mat2) -> Tensor"


def test_an_object_stands_once(extracted: Catalogue) -> None:
    aliases = {one.alias_of for one in extracted.records.values()} - {None}
    assert all(extracted.records[str(name)].alias_of is None for name in aliases)
    assert "torch.BoolTensor.add" not in extracted.records


def test_the_schema_describes_the_file(extracted: Catalogue) -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema())
    few = Catalogue(torch="2.13", records=dict(list(extracted.records.items())[:50]))
    assert list(validator.iter_errors(json.loads(few.model_dump_json()))) == []
    assert list(validator.iter_errors({"torch": "2.13", "records": {"x": {"name": "x"}}})) != []


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    status = Status(value="unsupported", reason="NotImplementedError: no", evidence=evidence())
    before = Catalogue(torch="2.13", records={"torch.add": record(status={"cuda over cpu": status}, note="mine")})
    store.save(before, path)
    assert store.load(path, "2.13") == before
    assert [one.name for one in tmp_path.iterdir()] == ["catalogue.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "its text: Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ('{"torch": "2.13", "records": {"x": {}}}', "records.x.name: Field required"),
    ],
)
def test_a_broken_file_is_kept_aside(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "catalogue.json"
    path.write_text(text)
    with pytest.raises(store.CatalogueError) as caught:
        store.load(path, "2.13")
    (aside,) = tmp_path.iterdir()
    assert str(caught.value) == (
        f"{path} is no catalogue ({said}); it is kept as {aside}. Run the command again to begin a new one"
    )
    assert re.fullmatch(r"catalogue\.json\.broken-\d{8}-\d{6}", aside.name)
    assert aside.read_text() == text
    assert store.load(path, "2.13").records == {}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none" / "catalogue.json"
    with pytest.raises(store.CatalogueError, match=f"^cannot write {path}: No such file or directory$"):
        store.save(Catalogue(torch="2.13"), path)


def test_a_new_release_is_merged_without_loss() -> None:
    status = Status(value="match", evidence=evidence())
    known = Catalogue(torch="2.13")
    store.merge(known, {"a": record("a", signature="(x)"), "b": record("b")}, "2.13")
    assert known.records["a"].history == []
    known.records["a"].note, known.records["a"].status = "mine", {"cuda over cpu": status}
    newer = {"a": record("a", signature="(x, y)"), "c": record("c", first_seen="2.14", last_seen="2.14")}
    store.merge(known, newer, "2.14")
    assert known.torch == "2.14"
    assert known.records["a"] == record(
        "a",
        signature="(x, y)",
        last_seen="2.14",
        note="mine",
        status={"cuda over cpu": status},
        history=[Change(torch="2.14", what="signature", before="(x)", after="(x, y)")],
    )
    assert known.records["b"].history == [Change(torch="2.14", what="removed")]
    assert known.records["b"].last_seen == "2.13"
    assert known.records["c"].history == [Change(torch="2.14", what="added")]
    store.merge(known, newer, "2.14")  # again: nothing more
    assert [len(one.history) for one in known.records.values()] == [1, 1, 1]


def test_an_older_release_removes_nothing() -> None:
    known = Catalogue(torch="2.13")
    store.merge(known, {"a": record("a"), "b": record("b")}, "2.13")
    store.merge(known, {"a": record("a", first_seen="2.9", last_seen="2.9")}, "2.9")
    assert known.torch == "2.13"
    assert (known.records["a"].first_seen, known.records["a"].last_seen) == ("2.9", "2.13")
    assert known.records["b"].history == []


def test_statuses_keep_their_history() -> None:
    one = record()
    store.take_status(one, "cuda over cpu", Status(value="not run", reason="no samples"))
    store.take_status(one, "cuda over cpu", Status(value="match", evidence=evidence()))
    assert one.history == []
    store.take_status(one, "cuda over cpu", Status(value="not run", reason="it hung"))
    assert one.status["cuda over cpu"].value == "match"
    store.take_status(one, "cuda over cpu", Status(value="unsupported", evidence=evidence(torch="2.14.1")))
    assert one.history == [Change(torch="2.14.1", what="status", before="match", after="unsupported")]


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("torch.add", "OpInfo"),
        ("torch.Tensor.add_", "OpInfo"),
        ("torch.linalg.eigh", "OpInfo"),
        ("torch.nn.Linear", "ModuleInfo"),
        ("torch.Tensor.T", "attribute"),
        ("torch.Tensor.is_cuda", "attribute"),
        ("torch.Tensor.tolist", "docstring"),
        ("torch.abs_", "OpInfo"),
        ("torch.relu", "OpInfo"),
        ("torch.Tensor.relu_", "OpInfo"),
        ("torch.Tensor.numel", "generated calls"),
        ("torch.Tensor.coalesce", "generated calls"),
        ("torch.Tensor.is_signed", "generated calls"),
        ("torch.pairwise_distance", "OpInfo"),
    ],
)
def test_observations(name: str, by: str) -> None:
    outcome = observe.observe(name)
    assert outcome.value in ("match", "fallback"), outcome
    assert outcome.by == by
    assert outcome.samples > 0
    if name == "torch.add":
        assert "aten::add.Tensor" in outcome.operators
        assert "aten::_to_copy" not in outcome.operators


@pytest.mark.parametrize(
    "name",
    ["torch.set_num_threads", "torch.seed", "torch.cuda.synchronize", "torch.Tensor.numpy", "torch.miopen_rnn"],
)
def test_what_changes_the_process_is_not_called(name: str) -> None:
    assert generated.calls(name) == []


def test_arguments_that_were_made_for_another_function_may_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(given: torch.Tensor) -> torch.Tensor:
        raise ValueError("not such a tensor")

    def refuse_on_cuda(given: torch.Tensor) -> torch.Tensor:
        return refuse(given) if given.is_cuda else given

    recorder = observe._Recorder()
    assert observe._tried(refuse, torch.ones(1), recorder, None, may_refuse=True) == 0
    with pytest.raises(ValueError, match="not such a tensor"):
        observe._tried(refuse, torch.ones(1), recorder, None, may_refuse=False)
    with pytest.raises(observe._OnCudaError, match="not such a tensor"):
        observe._tried(refuse_on_cuda, torch.ones(1), recorder, None, may_refuse=True)
    assert observe._tried(torch.neg, torch.ones(1), recorder, None, may_refuse=True) == 1


def test_what_differs_and_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def differs(x: torch.Tensor) -> torch.Tensor:
        """>>> y = torch.differs(torch.ones(2))"""
        return x + 1 if x.is_cuda else x

    def fails(x: torch.Tensor) -> torch.Tensor:
        """>>> y = torch.fails(torch.ones(2))"""
        if x.is_cuda:
            raise NotImplementedError("not on a GPU")
        return x

    def undescribed() -> None: ...

    for function in (differs, fails, undescribed):
        monkeypatch.setattr(torch, function.__name__, function, raising=False)
    seen = {name: observe.observe(f"torch.{name}") for name in ("differs", "fails", "undescribed")}
    assert {name: (one.value, one.reason) for name, one in seen.items()} == {
        "differs": ("modified", "Tensor-likes are not close!"),
        "fails": ("unsupported", "NotImplementedError: not on a GPU"),
        "undescribed": ("not run", "torch has neither samples nor examples of it"),
    }
    assert observe.observe("torch.hub.load").reason == "its examples download programs"


WORKER = """
    import json, os, signal, sys, time
    for line in sys.stdin:
        name = line.strip()
        if name == "crashes": os.kill(os.getpid(), signal.SIGSEGV)
        if name == "ends": os._exit(3)
        if name == "hangs": time.sleep(60)
        if name == "turns": os.kill(os.getpid(), signal.SIGPROF)
        print(json.dumps({"value": "match", "by": "OpInfo", "samples": 1, "operators": ["aten::mm"]}), flush=True)
"""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "COMMAND", [sys.executable, "-c", textwrap.dedent(WORKER)])
    monkeypatch.setattr(runner, "WAIT", 5)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_crash_costs_one_name(worker: None, tmp_path: Path, jobs: int) -> None:
    names = ["a", "crashes", "b", "ends", "c", "hangs", "d", "turns"]
    done: list[int] = []
    outcomes = runner.run(names, runner.Journal(tmp_path / "journal", "2.13"), jobs, done.append)
    assert list(outcomes) == names
    assert {name: one.reason for name, one in outcomes.items() if one.value == "not run"} == {
        "crashes": "the process that ran it ended with signal 11",
        "ends": "the process that ran it ended with status 3",
        "turns": "it took longer than 30 seconds of the processor",
        "hangs": "it took longer than 5 seconds",
    }
    assert sorted(done) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_goes_on_where_it_ended(worker: None, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = runner.Journal(path, "2.13 cpu")
    journal.add("a", observe.Outcome("unsupported", "OpInfo", "no", 1))
    runner.Journal(path, "2.14 cpu").add("b", observe.Outcome("unsupported", "OpInfo", "no", 1))
    with path.open("a") as file:
        file.write('{"key": "2.13 cpu", "na')  # ended while it wrote
    outcomes = runner.run(["a", "b"], runner.Journal(path, "2.13 cpu"), 1, lambda done: None)
    assert {name: one.value for name, one in outcomes.items()} == {"a": "unsupported", "b": "match"}


def test_operators_are_judged_by_what_they_took_part_in() -> None:
    outcomes = {
        "torch.mm": observe.Outcome("match", "OpInfo", samples=4, operators=["aten::mm", "aten::add"]),
        "torch.eigh": observe.Outcome("fallback", "OpInfo", samples=2, operators=["aten::mm", "aten::eigh"]),
        "torch.bad": observe.Outcome("modified", "OpInfo", samples=2, operators=["aten::bad"]),
    }
    outcomes["torch.eigh"].fallen = ["aten::eigh"]
    parts = runner.parts_of(outcomes)
    assert {name: (one.value, one.samples) for name, one in parts.items()} == {
        "aten::mm": ("match", 6),
        "aten::add": ("match", 4),
        "aten::eigh": ("fallback", 2),
    }


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "catalogue.json"
    refused = Status(value="unsupported", reason="RuntimeError: a | b", evidence=evidence())
    records = [
        record(
            "torch.add", summary="Adds </script>.", status={"cuda over cpu": Status(value="match", evidence=evidence())}
        ),
        record("torch.plus", alias_of="torch.add"),
        record("torch.cuda.gds", category="torch.cuda", status={"cuda over cpu": refused}),
    ]
    store.save(Catalogue(torch="2.13", records={one.name: one for one in records}), path)
    return path


def command(file: Path, *arguments: str) -> tuple[int, str, str]:
    line = [sys.executable, "-m", "torchdevice", "catalogue", "--file", str(file), *arguments]
    process = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    return process.returncode, process.stdout, process.stderr


def test_the_commands(small: Path) -> None:
    counts = "2 match, 0 modified, 0 fallback, 1 unsupported, 0 not run, 0 nothing tried"
    assert command(small, "status") == (0, f"3 names, torch 2.13\n  cuda over cpu: {counts}\n", "")
    assert command(small, "list", "--status", "unsupported") == (0, "torch.cuda.gds  cuda over cpu: unsupported\n", "")
    assert command(small, "list", "--category", "torch.none") == (1, "", "")
    assert command(small, "set", "torch.add", "--note", "a note") == (0, "", "")
    status, text, _ = command(small, "show", "torch.add")
    assert (status, json.loads(text)["note"]) == (0, "a note")
    assert command(small, "show", "torch.ad") == (
        1, "", "torchdevice catalogue: there is no 'torch.ad'; did you mean torch.add?\n",
    )  # fmt: skip
    empty = small.with_name("none.json")
    assert command(empty, "status") == (
        1, "", f"torchdevice catalogue: {empty} is empty: `… catalogue update` fills it\n",
    )  # fmt: skip


def data_of(file: Path, *arguments: str) -> tuple[int, Any]:
    status, text, error = command(file, *arguments, "--json")
    assert error == ""
    return status, json.loads(text)


def test_the_commands_give_data(small: Path, tmp_path: Path) -> None:
    status, data = data_of(small, "status")
    assert_documented("catalogue status", data)
    assert (status, data["records"], data["status"]["cuda over cpu"]["match"]) == (0, 3, 2)
    status, data = data_of(small, "list", "--status", "unsupported")
    assert_documented("catalogue list", data)
    assert (status, [one["name"] for one in data]) == (0, ["torch.cuda.gds"])
    assert data_of(small, "list", "--category", "torch.none") == (1, [])
    status, data = data_of(small, "set", "torch.add", "--note", "a note")
    assert (status, data["note"]) == (0, "a note")
    assert json.loads(command(small, "show", "torch.add")[1]) == data
    status, data = data_of(small, "report", "--out", str(tmp_path / "out"))
    assert (status, str(tmp_path / "out" / "catalogue.html") in data) == (0, True)


def test_the_pages(small: Path, tmp_path: Path) -> None:
    written = pages.write(store.load(small, "2.13"), tmp_path / "out")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in written) == [
        "catalogue.html",
        "catalogue.json",
        "categories/torch.cuda.md",
        "categories/torch.md",
        "index.md",
        "schema.json",
    ]
    assert (tmp_path / "out/categories/torch.cuda.md").read_text() == (
        "# torch.cuda\n\nMade by `python -m torchdevice catalogue report` from the catalogue of torch 2.13.\n\n"
        "| name | kind | cuda over cpu | note |\n|---|---|---|---|\n"
        "| `torch.cuda.gds` | function | unsupported (OpInfo, 4): RuntimeError: a \\| b |  |\n"
    )
    page = (tmp_path / "out/catalogue.html").read_text()
    assert page.count("</script>") == 2
    assert "http" not in page
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["rows"][0] == ["torch.add", "function", "torch", "Adds </script>.", ["match"], [""]]


def test_without_pydantic(small: Path, tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("raise ImportError('no pydantic')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['torchdevice', 'catalogue', 'status']\n"
        "from torchdevice.cli import main; sys.exit(main())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (
        2, "torchdevice catalogue: no pydantic: pip install 'torchdevice-ext[tools]'\n",
    )  # fmt: skip
