"""Run the sweep and hold what it finds against the ledger."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch  # noqa: F401, the native backend comes with it

from conformance.operators import ledger, report, runner
from torchdevice import _C

#: Samples of a dtype other than float32, of which all are tried.
SAMPLES = 12
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def jobs(options: argparse.Namespace, have: set[tuple[str, str]]) -> list[runner.Job]:
    """What is to be run."""
    from conformance.operators.subjects import subjects

    dtypes = set(filter(None, options.dtypes.split(",")))
    found = []
    for key, subject in subjects().items():
        if not re.search(options.ops, key):
            continue
        for dtype in subject.dtypes():
            name = str(dtype).removeprefix("torch.")
            limit = options.limit or (None if name == "float32" else SAMPLES)
            if (not dtypes or name in dtypes) and (key, name) not in have:
                found.append({"op": key, "family": subject.family, "dtype": name, "limit": limit})
    index, count = map(int, options.shard.split("/"))
    return found[index::count]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.operators", description=__doc__)
    parser.add_argument("--ops", default="", help="regular expression on the subjects' names")
    parser.add_argument("--dtypes", default="", help="comma-separated, e.g. float32,int64; default: all")
    parser.add_argument("--limit", type=int, help=f"samples of each; default: {SAMPLES}, of float32 all")
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th piece from the i-th")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one subject with one dtype")
    parser.add_argument("--resume", action="store_true", help="go on where the last run stopped")
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/conformance.md")
    parser.add_argument("--out", type=Path, default=runner.ROOT / "out" / "conformance")
    options = parser.parse_args()
    entries = ledger.load(_C.native_backend_name())
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.jsonl"
    results: list[dict[str, Any]] = []
    if options.resume and path.exists():
        results = [json.loads(line) for line in path.read_text().splitlines()]
    todo = jobs(options, {(one["op"], one["dtype"]) for one in results})
    started = time.monotonic()
    with path.open("a" if options.resume else "w", buffering=1) as output:
        for number, result in enumerate(runner.run(todo, options.jobs, options.timeout), 1):
            output.write(json.dumps(result) + "\n")
            results.append(result)
            if number % 500 == 0:
                print(f"{number} of {len(todo)}, {time.monotonic() - started:.0f} s", flush=True)
    found = report.write(results, entries, time.monotonic() - started, options.out)
    if options.docs:
        _write_docs(options.out)
    # A part of the sweep cannot tell that an entry passes.
    whole = not (options.ops or options.dtypes or options.limit or options.shard != "0/1")
    return _tell(found, whole, path)


def _tell(found: dict[str, Any], whole: bool, path: Path) -> int:
    for one in found["unlisted"][:40]:
        example = one["examples"][0]
        print(f"{one['op']} {one['dtype']} {one['variant']}, sample {example['sample']}: {one['check']}")
        print(f"    expected {example['expected'][:200]}\n    got      {example['got'][:200]}")
    for line in found["passing"] if whole else ():
        print(line)
    print(f"{found['total']} in {found['seconds']} s; {len(found['unlisted'])} findings that the ledger does not list")
    print(f"all of it: {path}")
    return int(bool(found["unlisted"] or (whole and found["passing"])))


def _write_docs(out: Path) -> None:
    page = runner.ROOT / "docs" / "conformance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{(out / 'table.md').read_text()}{END}{after}")
    (runner.ROOT / "docs" / "images").mkdir(exist_ok=True)
    (runner.ROOT / "docs" / "images" / "conformance.svg").write_text((out / "conformance.svg").read_text())


if __name__ == "__main__":
    sys.exit(main())
