"""The catalogue as Markdown, a page for each category, and as one HTML page with search that needs no network."""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from pathlib import Path

from torchdevice.catalogue.runner import summary
from torchdevice.catalogue.schema import Catalogue, Record, Status, schema

_MADE = "Made by `python -m torchdevice catalogue report` from the catalogue of torch {torch}."


def write(catalogue: Catalogue, folder: Path) -> list[Path]:
    """All of it into a folder; returns the files."""
    pages = folder / "categories"
    pages.mkdir(parents=True, exist_ok=True)
    texts = {
        folder / "catalogue.json": catalogue.model_dump_json(indent=1, exclude_defaults=True) + "\n",
        folder / "schema.json": json.dumps(schema(), indent=2) + "\n",
        folder / "index.md": _index(catalogue),
        folder / "catalogue.html": _html(catalogue),
    }
    for category, records in _by_category(catalogue).items():
        texts[pages / f"{_file_name(category)}.md"] = _category(catalogue, category, records)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def status_of(catalogue: Catalogue, record: Record, device: str) -> Status | None:
    """An alias has that of the name which it stands for."""
    return catalogue.records.get(record.alias_of or "", record).status.get(device)


def devices(catalogue: Catalogue) -> list[str]:
    """Those on which anything was tried."""
    return sorted({device for record in catalogue.records.values() for device in record.status})


def _by_category(catalogue: Catalogue) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in catalogue.records.values():
        found[record.category].append(record)
    return dict(sorted(found.items()))


def _file_name(category: str) -> str:
    return re.sub(r"[^\w.]+", "-", category)


def _index(catalogue: Catalogue) -> str:
    columns = devices(catalogue)
    lines = ["# The catalogue", "", _MADE.format(torch=catalogue.torch), ""]
    lines += [f"| category | names | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for category, records in _by_category(catalogue).items():
        cells = []
        for device in columns:
            statuses = [status for record in records if (status := status_of(catalogue, record, device)) is not None]
            counts = summary(statuses)
            cells.append(", ".join(f"{count} {value}" for value, count in counts.items() if count))
        link = f"[{category}](categories/{_file_name(category)}.md)"
        lines.append(f"| {link} | {len(records)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _category(catalogue: Catalogue, category: str, records: list[Record]) -> str:
    columns = devices(catalogue)
    lines = [f"# {category}", "", _MADE.format(torch=catalogue.torch), ""]
    lines += [f"| name | kind | {' | '.join(columns)} | note |", f"|---|---|{'---|' * (len(columns) + 1)}"]
    for record in records:
        cells = [_cell(status_of(catalogue, record, device)) for device in columns]
        note = record.note or (f"alias of `{record.alias_of}`" if record.alias_of else "")
        lines.append(f"| `{record.name}` | {record.kind} | {' | '.join(cells)} | {_escaped(note)} |")
    return "\n".join(lines) + "\n"


def _cell(status: Status | None) -> str:
    if status is None:
        return ""
    reason = f": {_escaped(status.reason)}" if status.reason else ""
    evidence = f" ({status.evidence.by}, {status.evidence.samples})" if status.evidence else ""
    return f"{status.value}{evidence}{reason}"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _html(catalogue: Catalogue) -> str:
    columns = devices(catalogue)
    rows = []
    for record in catalogue.records.values():
        statuses = [status_of(catalogue, record, device) for device in columns]
        values = [status.value if status else "" for status in statuses]
        reasons = [status.reason if status else "" for status in statuses]
        rows.append([record.name, record.kind, record.category, record.summary, values, reasons])
    # A script's text ends at the first "</", whatever stands around it.
    data = json.dumps({"devices": columns, "rows": rows}, separators=(",", ":")).replace("</", "<\\/")
    return _PAGE.replace("@TORCH@", html.escape(catalogue.torch)).replace("@DATA@", data)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>torch @TORCH@ on torchdevice</title>
<style>
body{font:15px/1.4 system-ui,sans-serif;margin:1rem auto;max-width:70rem;padding:0 1rem}
input,select{font:inherit;padding:.3rem;margin:0 .3rem .5rem 0}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #ddd;vertical-align:top;overflow-wrap:anywhere}
.match{color:#176f2c}.modified,.fallback{color:#8a5a00}.unsupported{color:#a11}small{color:#666;display:block}
</style></head><body>
<h1>torch @TORCH@ on torchdevice</h1>
<p>Made by <code>python -m torchdevice catalogue report</code>: each status comes from running the name.</p>
<input id="text" type="search" placeholder="name" aria-label="name"><select id="category"></select>
<select id="kind"></select><select id="status"></select> <span id="count"></span>
<table><thead id="head"></thead><tbody id="body"></tbody></table>
<script id="data" type="application/json">@DATA@</script>
<script>
const {devices, rows} = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id), SHOWN = 500;
function fill(id, title, values) {
  get(id).append(new Option(title, ""), ...[...new Set(values)].sort().map(value => new Option(value)));
}
fill("category", "every category", rows.map(row => row[2]));
fill("kind", "every kind", rows.map(row => row[1]));
fill("status", "every status", rows.flatMap(row => row[4]).filter(Boolean));
function cell(text, small, kind) {
  const one = document.createElement("td");
  one.textContent = text;
  if (kind) one.className = kind.replace(" ", "-");
  if (small) one.append(Object.assign(document.createElement("small"), {textContent: small}));
  return one;
}
function show() {
  const text = get("text").value.toLowerCase();
  const [category, kind, status] = ["category", "kind", "status"].map(id => get(id).value);
  const found = rows.filter(row => row[0].toLowerCase().includes(text) && (!category || row[2] === category) &&
    (!kind || row[1] === kind) && (!status || row[4].includes(status)));
  get("count").textContent = `${found.length} names` + (found.length > SHOWN ? `, the first ${SHOWN} shown` : "");
  get("body").replaceChildren(...found.slice(0, SHOWN).map(row => {
    const line = document.createElement("tr");
    line.append(cell(row[0], row[3]), cell(row[1]), ...row[4].map((value, i) => cell(value, row[5][i], value)));
    return line;
  }));
}
const head = document.createElement("tr");
for (const title of ["name", "kind", ...devices])
  head.append(Object.assign(document.createElement("th"), {textContent: title}));
get("head").append(head);
for (const id of ["text", "category", "kind", "status"]) get(id).addEventListener("input", show);
show();
</script></body></html>
"""
