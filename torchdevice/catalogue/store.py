"""The catalogue's file: read, merged with what a new run found, written. No record and no note is ever lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import ValidationError

from torchdevice.catalogue.schema import Catalogue, Change, Device, Record, Status


class CatalogueError(Exception):
    """The file cannot be read or written; the message says why, and what became of it."""


def load(path: Path, torch: str) -> Catalogue:
    """The catalogue of a file, an empty one where there is none.

    Raises:
        CatalogueError: it is no catalogue; it has been kept aside.
    """
    if not path.exists():
        return Catalogue(torch=torch)
    try:
        return Catalogue.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CatalogueError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        aside = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            path.rename(aside)
        except OSError:
            aside = path
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its text"
        raise CatalogueError(
            f"{path} is no catalogue ({place}: {first['msg']}); it is kept as {aside}. Run the command again to "
            "begin a new one"
        ) from None


def save(catalogue: Catalogue, path: Path) -> None:
    """Written beside and renamed, so that there is always a whole one.

    Raises:
        CatalogueError: the folder cannot be written.
    """
    fresh = path.with_name(f"{path.name}.fresh")
    try:
        fresh.write_text(catalogue.model_dump_json(indent=1, exclude_defaults=True) + "\n", encoding="utf-8")
        os.replace(fresh, path)
    except OSError as error:
        raise CatalogueError(f"cannot write {path}: {error.strerror}") from None


def merge(catalogue: Catalogue, found: dict[str, Record], torch: str) -> None:
    """Take up the names of an installed torch: what is new, gone or called otherwise goes into the history.

    What people wrote, statuses and the history stay. Names that this torch does not have stay, too.
    """
    is_first = not catalogue.records
    for name, fresh in found.items():
        known = catalogue.records.get(name)
        if known is None:
            if not is_first:
                fresh.history.append(Change(torch=torch, what="added"))
            catalogue.records[name] = fresh
            continue
        if known.signature != fresh.signature:
            known.history.append(Change(torch=torch, what="signature", before=known.signature, after=fresh.signature))
        for field in ("kind", "category", "signature", "summary", "deprecated_since", "alias_of"):
            setattr(known, field, getattr(fresh, field))
        known.first_seen, known.last_seen = _span(known, torch)
    for name, known in catalogue.records.items():
        was_there = known.last_seen == catalogue.torch
        if name not in found and was_there and _number(torch) > _number(catalogue.torch):
            known.history.append(Change(torch=torch, what="removed"))
    if _number(torch) >= _number(catalogue.torch):
        catalogue.torch = torch


def _span(record: Record, torch: str) -> tuple[str, str]:
    seen = sorted({record.first_seen, record.last_seen, torch}, key=_number)
    return seen[0], seen[-1]


def _number(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


def take_status(record: Record, device: Device, status: Status) -> None:
    """A new status; a change goes into the history. "not run" takes the place of nothing that ran."""
    before = record.status.get(device)
    if before is not None and status.value == "not run" and before.value != "not run":
        return
    if before is not None and before.value not in ("not run", status.value):
        torch = status.evidence.torch if status.evidence is not None else record.last_seen
        record.history.append(Change(torch=torch, what="status", before=before.value, after=status.value))
    record.status[device] = status
