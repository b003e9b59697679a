"""What a whole run found: out/conformance/summary.json, the table and the picture of docs/conformance.md."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from conformance.operators import ledger

#: The picture's columns; other dtypes are drawn after them.
DTYPES = ("float64", "float32", "float16", "bfloat16", "complex128", "complex64", "complex32",
          "int64", "int32", "int16", "int8", "uint8", "bool")  # fmt: skip
OUTCOMES = ("equal", "close", "listed", "failed")

Counts = dict[str, Counter[str]]


def count(result: dict[str, Any], entries: list[ledger.Entry]) -> Counter[str]:
    """The calls of one result by outcome; "listed" failed as the ledger says."""
    counts: Counter[str] = Counter(result["counts"])
    listed = sum(
        finding["calls"] for finding in result["findings"] if any(entry.matches(result, finding) for entry in entries)
    )
    counts["failed"] -= listed
    counts["listed"] += listed
    counts["samples"] = result["samples"]
    return counts


def by_family(results: list[dict[str, Any]], entries: list[ledger.Entry]) -> Counts:
    """Counts by operator family."""
    families: Counts = defaultdict(Counter)
    subjects: dict[str, set[str]] = defaultdict(set)
    for result in results:
        families[result["family"]] += count(result, entries)
        subjects[result["family"]].add(result["op"])
    for family, counts in families.items():
        counts["subjects"] = len(subjects[family])
    return dict(families)


def summary(results: list[dict[str, Any]], entries: list[ledger.Entry], seconds: float) -> dict[str, Any]:
    """Everything in figures, for programs."""
    families = by_family(results, entries)
    return {
        "seconds": round(seconds),
        "total": dict(sum(families.values(), Counter())),
        "families": {family: dict(counts) for family, counts in families.items()},
        "unlisted": [
            {"op": result["op"], "dtype": result["dtype"], **finding}
            for result in results
            for finding in ledger.unlisted(result, entries)
        ],
        "passing": list(ledger.passing(results, entries)),
    }


def table(families: Counts) -> str:
    """A Markdown table, the largest family first."""
    columns = ("subjects", "samples", *OUTCOMES)
    lines = ["| family | subjects | samples | equal | close | listed | failed |", "|---|--:|--:|--:|--:|--:|--:|"]
    rows = sorted(families.items(), key=lambda row: -row[1]["samples"])
    total: Counter[str] = sum(families.values(), Counter())
    for family, counts in [*rows, ("**all**", total)]:
        lines.append(f"| {family} | " + " | ".join(f"{counts[column]:,}" for column in columns) + " |")
    return "\n".join(lines)


def picture(results: list[dict[str, Any]], entries: list[ledger.Entry]) -> str:
    """An SVG heat map: families by dtypes, coloured by the share of calls that are equal or close."""
    cells: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for result in results:
        cells[result["family"], result["dtype"]] += count(result, entries)
    families = sorted({family for family, _ in cells})
    dtypes = [dtype for dtype in DTYPES if any((family, dtype) in cells for family in families)]
    dtypes += sorted({dtype for _, dtype in cells} - set(dtypes))
    width, height, left, top = 62, 24, 130, 80
    parts = []
    for column, dtype in enumerate(dtypes):
        x = left + column * width + width / 2
        parts.append(f'<text x="{x:.0f}" y="{top - 8}" transform="rotate(-35 {x:.0f} {top - 8})">{dtype}</text>')
    for row, family in enumerate(families):
        y = top + row * height
        parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{family}</text>')
        for column, dtype in enumerate(dtypes):
            x = left + column * width
            counts = cells.get((family, dtype))
            if counts is None:
                continue
            calls = sum(counts[outcome] for outcome in OUTCOMES)
            share = (counts["equal"] + counts["close"]) / max(calls, 1)
            label = f"{100 * share:.0f}" if share in (0, 1) else f"{100 * share:.1f}"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{width - 2}" height="{height - 2}" fill="{_colour(share)}">'
                f"<title>{family}, {dtype}: {dict(counts)}</title></rect>"
                f'<text x="{x + width / 2 - 1:.0f}" y="{y + 15}" text-anchor="middle" class="cell">{label}</text>'
            )
    size = left + len(dtypes) * width + 20, top + len(families) * height + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}">\n'
        "<style>text{font:12px sans-serif;fill:#444}.cell{font-size:10px;fill:#fff}</style>\n"
        f'<rect width="{size[0]}" height="{size[1]}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _colour(share: float) -> str:
    """Red at 0, amber at 0.9, green at 1."""
    if share >= 0.9:
        return _mix((214, 150, 30), (34, 139, 84), (share - 0.9) * 10)
    return _mix((190, 50, 50), (214, 150, 30), share / 0.9)


def _mix(one: tuple[int, ...], other: tuple[int, ...], share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(one, other, strict=True))


def write(results: list[dict[str, Any]], entries: list[ledger.Entry], seconds: float, out: Path) -> dict[str, Any]:
    """Write summary.json, table.md and conformance.svg into `out`; return the summary."""
    found = summary(results, entries, seconds)
    (out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "table.md").write_text(table(by_family(results, entries)) + "\n")
    (out / "conformance.svg").write_text(picture(results, entries))
    return found
