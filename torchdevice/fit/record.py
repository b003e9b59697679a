"""The record that a dry run leaves, as data: what the child writes and the command reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Peak:
    """One device when most of its memory was allocated."""

    device: int
    allocated: int = 0  #: bytes, as torch.cuda.max_memory_allocated() has them
    reserved: int = 0
    allocated_at_end: int = 0
    kinds: dict[str, int] = field(default_factory=dict)  #: bytes by kind; their sum is `allocated`
    modules: dict[str, int] = field(default_factory=dict)  #: bytes of activations by module
    stack: list[str] = field(default_factory=list)  #: "file:line function", innermost first, of the program's code
    curve: dict[str, list[int]] = field(
        default_factory=dict
    )  #: bytes by kind when most was allocated, in parts of time; empty where nobody asked
    curve_seconds: float = 0.0  #: from the first of the parts to the last
    is_cut: bool = False  #: the history no longer has that moment: kinds and stack are of the highest one that it has


@dataclass
class Read:
    """Something that depends on data, which a dry run does not have."""

    what: str
    where: str
    count: int


@dataclass
class Work:
    """Calls of one operator with arguments of one kind."""

    operator: str
    device: int
    count: int
    in_step: int  #: how many of them belong to the last step of an optimizer
    flops: int  #: of one call
    bytes: int  #: read and written by one call
    dtype: str  #: of the arithmetic
    shapes: str


@dataclass
class Communication:
    """Calls of one collective with messages of one size."""

    operator: str
    device: int
    ranks: int  #: of its group
    within_host: bool  #: whether all of them have a device of one host
    bytes: int  #: of one call's whole message
    sent: int  #: what the rank sends to others in one call
    count: int = 0
    in_step: int = 0  #: how many of them belong to the last step of an optimizer


@dataclass
class Record:
    """All of a dry run."""

    ending: str = "ended"  #: or "failed", "out of memory", "interrupted"
    error: str = ""
    status: int = 0
    ooms: int = 0  #: how often the program was refused memory of a device, and perhaps went on
    address_space: int | None = None  #: bytes that the process may have, where that is less than the devices' memory
    seconds: float = 0.0  #: that the dry run took
    resident: int = 0  #: most bytes of the host's memory
    peaks: list[Peak] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    ranks: int = 1  #: processes of the program, all like the one that was run
    communication: list[Communication] = field(default_factory=list)
    copied: dict[str, int] = field(default_factory=dict)
    steps: int = 0  #: of optimizers
    tf32: bool = False  #: whether products of float32 may use it

    @property
    def ran_out(self) -> bool:
        """Whether it was refused memory, also where it went on."""
        return self.ending == "out of memory" or self.ooms > 0

    @property
    def allocated(self) -> int:
        """The largest device's."""
        return max((peak.allocated for peak in self.peaks), default=0)

    @property
    def reserved(self) -> int:
        """The largest device's."""
        return max((peak.reserved for peak in self.peaks), default=0)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Record:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        data["peaks"] = [Peak(**one) for one in data["peaks"]]
        data["reads"] = [Read(**one) for one in data["reads"]]
        data["work"] = [Work(**one) for one in data["work"]]
        data["communication"] = [Communication(**one) for one in data["communication"]]
        return cls(**data)
