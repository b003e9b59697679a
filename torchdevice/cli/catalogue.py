"""`torchdevice catalogue`: the whole torch API, and what came of running it here."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchdevice import progress
from torchdevice.cli.values import at_least_one

if TYPE_CHECKING:
    from torchdevice.catalogue.schema import Catalogue

#: Exit statuses; argparse has the last one too.
DONE, UNFIT, USAGE = 0, 1, 2

EPILOG = """\
examples:
  torchdevice catalogue update --only torch.linalg
  torchdevice catalogue status
  torchdevice catalogue list --status unsupported
  torchdevice catalogue show torch.linalg.eigh
  torchdevice catalogue set torch.cuda.nvtx.mark --note "a name only"
  torchdevice catalogue report --out pages

exit status: 0 done, 1 no such name or a file that cannot be used, 2 wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", type=Path, default=Path("catalogue.json"), help="the catalogue (catalogue.json)")
    actions = parser.add_subparsers(dest="action", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")

    update = action("update", "find all names of the installed torch, and run them")
    update.add_argument("--only", metavar="PREFIX", nargs="+", default=[""], help="run names that begin so, no others")
    update.add_argument("--names-only", action="store_true", help="run nothing")
    update.add_argument("--jobs", type=at_least_one, default=2, metavar="N", help="processes (2)")
    status = action("status", "how many there are of each")
    listing = action("list", "names and what came of them")
    listing.add_argument("--category", help="such as torch.linalg")
    listing.add_argument("--status", help="such as unsupported")
    show = action("show", "all that is known of a name, as JSON")
    show.add_argument("name")
    show.set_defaults(json=True)
    note = action("set", "write a note to a name; updates keep it")
    note.add_argument("name")
    note.add_argument("--note", required=True)
    report = action("report", "Markdown by category, one HTML page with search, JSON")
    report.add_argument("--out", type=Path, required=True, metavar="DIR")
    for one in (update, status, listing, note, report):
        one.add_argument("--json", action="store_true", help="print what is told as data")
    action("schema", "the JSON Schema of the file")
    parser.set_defaults(call=catalogue)


def catalogue(arguments: argparse.Namespace) -> int:
    """Do what was asked; returns the exit status."""
    try:
        from torchdevice.catalogue import schema, store
    except ImportError as error:
        print(f"torchdevice catalogue: {error}: pip install 'torchdevice-ext[tools]'", file=sys.stderr)
        return USAGE
    if arguments.action == "schema":
        print(json.dumps(schema.schema(), indent=2))
        return DONE
    try:
        if arguments.action == "update":
            return _update(arguments)
        with progress.during(f"reading {arguments.file}"):
            known = store.load(arguments.file, "0.0")
        if not known.records:
            print(f"torchdevice catalogue: {arguments.file} is empty: `… catalogue update` fills it", file=sys.stderr)
            return UNFIT
        if arguments.action == "status":
            return _tell_status(known, arguments.json)
        if arguments.action == "list":
            return _list(known, arguments)
        if arguments.action == "report":
            return _report(known, arguments.out, arguments.json)
        record = known.records.get(arguments.name)
        if record is None:
            near = difflib.get_close_matches(arguments.name, known.records, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            print(f"torchdevice catalogue: there is no '{arguments.name}'{hint}", file=sys.stderr)
            return UNFIT
        if arguments.action == "set":
            record.note = arguments.note
            store.save(known, arguments.file)
        if arguments.json:
            print(record.model_dump_json(indent=2))
        return DONE
    except store.CatalogueError as error:
        print(f"torchdevice catalogue: {error}", file=sys.stderr)
        return UNFIT


def _update(arguments: argparse.Namespace) -> int:
    progress.import_torch()
    import torch

    from torchdevice import activation
    from torchdevice.catalogue import extract, runner, schema, store

    minor = extract.minor()
    known = store.load(arguments.file, minor)
    with progress.during("looking for names in torch"):
        found = extract.extract()
        store.merge(known, found, minor)
        store.save(known, arguments.file)
    print(f"{len(found)} names of torch {torch.__version__}, {len(known.records)} in {arguments.file}", file=sys.stderr)
    if arguments.names_only:
        return _tell_status(known, as_json=True) if arguments.json else DONE
    state = activation.status()
    if not state.active:
        print(f"torchdevice catalogue: nothing was run: torchdevice is not active: {state.reason}", file=sys.stderr)
        return USAGE
    from torchdevice import _C

    backend = _C.native_backend_name()
    device = f"cuda over {backend}"
    names = [
        name
        for name, record in known.records.items()
        if name in found
        and record.kind != "operator"
        and record.alias_of is None
        and name.startswith(tuple(arguments.only))
    ]
    journal = runner.Journal(
        arguments.file.with_name(f"{arguments.file.name}.running"), f"{torch.__version__} {device}"
    )
    outcomes = runner.run(names, journal, arguments.jobs, lambda done: _progress(done, len(names)))
    # A backend of another platform's is a simulation.
    basis: schema.Basis = "ran" if backend == "cpu" or sys.platform == "darwin" else "simulated"
    for name, outcome in {**outcomes, **runner.parts_of(outcomes)}.items():
        record = known.records.get(name)
        if record is None:
            continue
        evidence = None
        if outcome.value != "not run":
            evidence = schema.Evidence(
                basis=basis, torch=torch.__version__, date=date.today(), by=outcome.by, samples=outcome.samples
            )
            record.operators = outcome.operators or record.operators
        store.take_status(record, device, schema.Status(value=outcome.value, reason=outcome.reason, evidence=evidence))
    store.save(known, arguments.file)
    journal.remove()
    return _tell_status(known, arguments.json)


def _report(known: Catalogue, folder: Path, as_json: bool) -> int:
    from torchdevice.catalogue import pages

    try:
        with progress.during(f"writing {folder}"):
            files = pages.write(known, folder)
    except OSError as error:
        print(f"torchdevice catalogue: cannot write {folder}: {error.strerror}", file=sys.stderr)
        return UNFIT
    if as_json:
        print(json.dumps([str(file) for file in files], indent=2))
    else:
        print(f"{len(files)} files in {folder}; {folder / 'catalogue.html'} opens in a browser")
    return DONE


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        progress.show(f"{done} of {total}" if done < total else "")
    elif done % 200 == 0 or done == total:
        print(f"{done} of {total}", file=sys.stderr, flush=True)


def _counts(known: Catalogue) -> dict[str, dict[str, int]]:
    from torchdevice.catalogue import pages, runner

    counts: dict[str, dict[str, int]] = {}
    for device in pages.devices(known):
        statuses = [pages.status_of(known, record, device) for record in known.records.values()]
        ran = [status for status in statuses if status is not None]
        if ran:
            counts[device] = {**runner.summary(ran), "nothing tried": len(statuses) - len(ran)}
    return counts


def _tell_status(known: Catalogue, as_json: bool) -> int:
    counts = _counts(known)
    if as_json:
        print(json.dumps({"torch": known.torch, "records": len(known.records), "status": counts}, indent=2))
        return DONE
    print(f"{len(known.records)} names, torch {known.torch}")
    for device, of in counts.items():
        print(f"  {device}: {', '.join(f'{count} {value}' for value, count in of.items())}")
    return DONE


def _list(known: Catalogue, arguments: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for name, record in known.records.items():
        values = {device: status.value for device, status in record.status.items()}
        if arguments.category not in (None, record.category):
            continue
        if arguments.status is None or arguments.status in values.values():
            rows.append({"name": name, "kind": record.kind, "category": record.category, "status": values})
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            told = ", ".join(f"{device}: {value}" for device, value in row["status"].items())
            print(f"{row['name']}  {told}".rstrip())
    return DONE if rows else UNFIT
