"""The fields of what `--json` gives, as docs/data.md names them, compared with what a command gave."""

from __future__ import annotations

import re
from typing import Any

from tests.docs.markdown import ROOT

PAGE = "docs/data.md"


def assert_documented(section: str, data: Any) -> None:
    """Every field is named, and what is named is a field, but for those of which nothing can be seen here."""
    named = documented(section)
    seen: set[str] = set()
    empty: set[str] = set()
    _look(data, "", named, seen, empty)
    assert seen <= named, f"{PAGE}, {section}, lacks {sorted(seen - named)}"
    lost = {name for name in named - seen if not any(name.startswith((f"{one}.", f"{one}[]")) for one in empty)}
    assert not lost, f"{PAGE}, {section}: no such fields: {sorted(lost)}"


def documented(section: str) -> set[str]:
    """What the first column of the section's table names."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{PAGE} has no section {section}"
    cells = re.findall(r"^\| (`.*?) \|", found[1], re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def _look(data: Any, place: str, named: set[str], seen: set[str], empty: set[str]) -> None:
    """`a.b` is a field of an object, `a[].b` one of the objects of a list, `a.*` any other."""
    if isinstance(data, dict):
        for name, value in data.items():
            inner = ".".join(filter(None, [place, name]))
            if inner not in named and f"{place}.*" in named:
                inner = f"{place}.*"
            seen.add(inner)
            _look(value, inner, named, seen, empty)
    elif isinstance(data, list):
        for value in data:
            _look(value, f"{place}[]", named, seen, empty)
    if data is None or data in ({}, []):
        empty.add(place)
