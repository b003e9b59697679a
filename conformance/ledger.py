"""What cannot work on device cuda here: `ledger.toml`. Only this file excuses a name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torchdevice.testing import ledger


@dataclass(frozen=True)
class Entry(ledger.Entry):
    """Public names whose call raises."""

    error: str = field(kw_only=True)  #: the exception's class
    text: str = field(kw_only=True)  #: a part of its message
    late: bool = field(default=False, kw_only=True)  #: works in programs that call it in time


LEDGER = ledger.load(Path(__file__).with_name("ledger.toml"), Entry)
