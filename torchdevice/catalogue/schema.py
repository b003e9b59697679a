"""The records of the catalogue, as Pydantic models; their JSON Schema is `schema()`."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Of the file; a later one may have more.
VERSION = 1

Kind = Literal["function", "method", "property", "class", "operator"]
Value = Literal["match", "modified", "fallback", "unsupported", "not run"]
Basis = Literal["ran", "simulated", "listed"]
#: "cuda over", and the native backend.
Device = str


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Evidence(_Model):
    """Where a status comes from."""

    basis: Basis
    torch: str
    date: date
    #: What was run: "OpInfo", "ModuleInfo", "docstring", "as a part of others".
    by: str
    samples: int = Field(ge=0)


class Status(_Model):
    """What came of a name on one device."""

    value: Value
    #: The error, the difference, or why nothing was run; empty for a match.
    reason: str = ""
    evidence: Evidence | None = None


class Change(_Model):
    """Something that a release of torch, or of torchdevice, made different."""

    torch: str
    what: Literal["added", "removed", "signature", "status"]
    before: str = ""
    after: str = ""


class Record(_Model):
    """One public name."""

    name: str
    kind: Kind
    #: The module that has it; "operators" for those of the dispatcher.
    category: str
    signature: str = ""
    summary: str = ""
    #: The dispatcher's operators that ran for it on device cuda.
    operators: list[str] = []
    #: Minor releases of torch.
    first_seen: str
    last_seen: str
    #: A release, or "unknown" where torch says that it is and not since when.
    deprecated_since: str | None = None
    #: The name under which the same object stands earlier.
    alias_of: str | None = None
    status: dict[Device, Status] = {}
    note: str = ""
    history: list[Change] = []


class Catalogue(_Model):
    """The file."""

    version: int = VERSION
    #: The torch that it was last updated from.
    torch: str
    records: dict[str, Record] = {}


def schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    return Catalogue.model_json_schema()
