"""Ledgers: the one pattern language, what is told of entries that are not true, and files that are no ledgers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from torchdevice.testing import ledger
from torchdevice.testing.ledger import Entry


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("add", "add"),
        ("add*", "addmm"),
        ("*::test_a", "TestX::test_a"),
        ("conv?d", "conv2d"),
        ("test_x[[1], a.b\\]", "test_x[[1], a.b\\]"),
        ("test_x[*]", "test_x[two\nlines]"),
    ],
)
def test_a_pattern_covers(pattern: str, name: str) -> None:
    assert Entry([pattern], "why").covers(name)


@pytest.mark.parametrize(
    ("pattern", "name"), [("add", "addmm"), ("mm", "addmm"), ("a.d", "add"), ("[ab]", "a"), ("conv?d", "convd")]
)
def test_a_pattern_does_not_cover(pattern: str, name: str) -> None:
    assert not Entry([pattern], "why").covers(name)


def test_the_first_entry_that_covers_a_name_is_found() -> None:
    entries = [Entry(["sub"], "one"), Entry(["add", "mul"], "two"), Entry(["*"], "three")]
    assert ledger.find(entries, "mul") is entries[1]
    assert ledger.find(entries[:2], "div") is None


def test_what_passes_is_told_unless_it_may() -> None:
    entries = [Entry(["add*"], "why"), Entry(["sub"], "luck", sometimes=True)]
    assert list(ledger.passing(entries, ["addmm", "sub", "div"])) == ["addmm: passes, but the ledger says: why"]


def test_what_names_nothing_is_told() -> None:
    entries = [Entry(["add*", "sub"], "why"), Entry(["mul"], "luck", sometimes=True)]
    assert list(ledger.unused(entries, ["addmm", "div"])) == [
        "sub: names nothing, but the ledger says: why",
        "mul: names nothing, but the ledger says: luck",
    ]


@dataclass(frozen=True)
class Special(Entry):
    check: str = ""


def test_a_ledger_is_loaded_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "ledger.toml"
    path.write_text(
        '[[entry]]\nnames = ["a"]\nreason = "why"\ncheck = "x"\n'
        '[[entry]]\nnames = ["b"]\nreason = "é"\nsometimes = true\n',
        encoding="utf-8",
    )
    assert ledger.load(path, Special) == [Special(["a"], "why", check="x"), Special(["b"], "é", sometimes=True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[[entry]]\nnames = ["a"]\nreason = "b"\nreson = "c"',
            "entry 1: unknown key 'reson'; there are check, names, reason, sometimes",
        ),
        ('[[entry]]\nreason = "b"', "entry 1: names is missing or empty"),
        ('[[entry]]\nnames = []\nreason = "b"', "entry 1: names is missing or empty"),
        ('[[entry]]\nnames = "add"\nreason = "b"', "entry 1: names is not a list of texts"),
        ('[[entry]]\nnames = ["a"]\nreason = "b"\n[[entry]]\nnames = ["a"]', "entry 2: reason is missing or empty"),
        ('[[entries]]\nnames = ["a"]', "unknown key 'entries'; a ledger has [[entry]] tables only"),
    ],
)
def test_what_is_no_ledger(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ledger.toml"
    path.write_text(text)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - compared below
        ledger.load(path, Special)
    separator = ": " if message.startswith("unknown") else ", "
    assert str(raised.value) == f"ledger.toml{separator}{message}"


def test_an_empty_file_is_an_empty_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.toml"
    path.write_text("# nothing fails\n")
    assert ledger.load(path, Entry) == []
