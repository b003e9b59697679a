"""The ledger excuses what it names, nothing else, and nothing that passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.operators import ledger
from conformance.operators.ledger import Entry


def result(op: str = "add", dtype: str = "float32", check: str = "result values", got: str = "[1.0]") -> dict[str, Any]:
    finding = {"variant": "forward", "check": check, "count": 1, "calls": 1, "examples": [{"sample": 0, "got": got}]}
    return {"op": op, "dtype": dtype, "findings": [finding]}


def test_an_entry_excuses_what_it_names() -> None:
    entries = [Entry(["add"], "why", check="^result values$", dtypes=["float32"])]
    assert ledger.unlisted(result(), entries) == []


@pytest.mark.parametrize(
    "other", [result(op="addmm"), result(dtype="int64"), result(check="result strides")], ids=["op", "dtype", "check"]
)
def test_an_entry_excuses_nothing_else(other: dict[str, Any]) -> None:
    entries = [Entry(["add"], "why", check="^result values$", dtypes=["float32"])]
    assert ledger.unlisted(other, entries) == other["findings"]


def test_brackets_in_a_pattern_are_plain() -> None:
    entries = [Entry(["* [sparse_coo]"], "why")]
    assert ledger.unlisted(result(op="add [sparse_coo]"), entries) == []
    assert ledger.unlisted(result(op="add s"), entries) != []


def test_an_entry_that_passes_is_told() -> None:
    entries = [Entry(["add", "mul"], "why", dtypes=["float32", "int64"]), Entry(["sub"], "luck", sometimes=True)]
    assert list(ledger.passing([result()], entries)) == ["entry 1 (why): mul passes", "entry 1 (why): int64 passes"]


def test_a_misspelt_key_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.toml"
    path.write_text('[[entry]]\nnames = ["add"]\nreason = "why"\nvarient = "x"\n')
    with pytest.raises(ValueError, match="^ledger.toml, entry 1: unknown key 'varient'; there are check, dtypes, "):
        ledger.load("cpu", path)


def test_an_entry_may_be_about_one_native_backend(tmp_path: Path) -> None:
    path = tmp_path / "ledger.toml"
    path.write_text(
        '[[entry]]\nnames = ["add"]\nreason = "why"\n[[entry]]\nnames = ["mul"]\nreason = "why"\nnative = "mps"\n'
    )
    assert [entry.names for entry in ledger.load("mps", path)] == [["add"], ["mul"]]
    assert [entry.names for entry in ledger.load("cpu", path)] == [["add"]]


@pytest.mark.parametrize("native", ["cpu", "mps"])
def test_the_ledger_loads_and_every_entry_has_a_reason(native: str) -> None:
    entries = ledger.load(native)
    assert entries
    assert all(entry.reason for entry in entries)
