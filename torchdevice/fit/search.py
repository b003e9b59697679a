"""The largest value of one of a program's arguments with which it fits: dry runs by bisection."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torchdevice.fit import report
from torchdevice.fit.record import Record
from torchdevice.fit.run import Devices, LostError, run
from torchdevice.program import Program

#: Exit status where no value fits, and of an interrupted search.
NONE_FITS, INTERRUPTED = 4, 130

_SHOWN = 30


@dataclass(frozen=True)
class Range:
    """Whole numbers, both ends included, for the argument that has `{name}`."""

    name: str
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Range:
        """Of "batch=1..512".

        Raises:
            ValueError: it is none.
        """
        found = re.fullmatch(r"([A-Za-z_]\w*)=([0-9]{1,18})\.\.([0-9]{1,18})", text)
        if found is None:
            raise ValueError(f"must be NAME=FIRST..LAST in whole numbers, such as batch=1..512, got {text!r}")
        result = cls(found[1], int(found[2]), int(found[3]))
        if result.first > result.last:
            raise ValueError(f"has no numbers: {result.first} is more than {result.last}, in {text!r}")
        return result

    @property
    def mark(self) -> str:
        return f"{{{self.name}}}"

    def is_in(self, program: Program) -> bool:
        return any(self.mark in argument for argument in program.arguments)

    def put(self, program: Program, value: int) -> Program:
        """The program with that value in its arguments."""
        given = tuple(argument.replace(self.mark, str(value)) for argument in program.arguments)
        return replace(program, arguments=given)


@dataclass
class Search:
    """What is known so far."""

    values: Range
    profile: str
    records: dict[int, Record] = field(default_factory=dict)
    largest: int | None = None  #: that was tried and fits
    smallest: int | None = None  #: that was tried and does not
    ending: str = ""  #: why it ended early
    status: int = 0

    def look(self, attempt: Callable[[int], Record]) -> None:
        """Bisect: in the end the largest value that fits and the next one have both been tried."""
        low, high = self.values.first - 1, self.values.last + 1
        while high - low > 1 and not self.ending:
            value = (low + high) // 2
            try:
                record = attempt(value)
            except LostError as error:
                self._end(f"{self._named(value)}: {error}", error.status)
                return
            except KeyboardInterrupt:
                self._end("The search was interrupted.", INTERRUPTED)
                return
            self.records[value] = record
            if record.ending == "interrupted":
                self._end("The search was interrupted.", record.status)
            elif record.ending == "failed" and not record.ran_out:
                self._end(f"The program failed with {self._named(value)}: {_first_line(record)}", record.status)
            elif record.ran_out and record.address_space is not None:
                self._end(f"{self._named(value)}: {report.NO_ADDRESSES}", 1)
            elif report.fits(record, self.profile):
                self.largest = low = value
            else:
                self.smallest = high = value
            print(f"torchdevice fit: {self._named(value)} {self._outcome(value)}", file=sys.stderr, flush=True)
        if not self.ending:
            self.status = 0 if self.largest is not None else NONE_FITS

    def text(self) -> str:
        return "\n".join(self._lines())

    def data(self) -> dict[str, Any]:
        """Sizes in bytes; `largest` is final where `ending` is empty."""
        tried = [{"value": one, **report.data(self.records[one], self.profile)} for one in sorted(self.records)]
        search = {"name": self.values.name, "first": self.values.first, "last": self.values.last}
        return {
            "profile": self.profile,
            "search": {**search, "largest": self.largest, "ending": self.ending},
            "tried": tried,
        }

    def _lines(self) -> Iterator[str]:
        values = self.values
        yield f"torchdevice fit: {self.profile}, {values.name} from {values.first} to {values.last}"
        if self.records:
            yield f"  {values.name:>12} {'allocated':>12} {'reserved':>12}"
        for value, record in sorted(self.records.items()):
            allocated, reserved = report.size(record.allocated), report.size(record.reserved)
            yield f"  {value:>12} {allocated:>12} {reserved:>12}  {self._outcome(value)}"
        if self.ending:
            yield self.ending
        yield self._answer()
        yield "It is taken for granted that what does not fit with one value does not fit with a larger one."

    def _answer(self) -> str:
        if self.largest is None and self.smallest is None:
            return "Nothing is known of what fits."
        if self.ending:
            fits = self._named(self.largest) if self.largest is not None else "no value yet"
            does_not = self._named(self.smallest) if self.smallest is not None else "none yet"
            return f"So far: {fits} fits, {does_not} does not."
        if self.largest is None:
            return f"NONE FITS: not even {self._named(self.values.first)} does."
        if self.largest == self.values.last:
            return f"The largest that fits: {self._named(self.largest)}, the last of the range."
        return f"The largest that fits: {self._named(self.largest)}. {self._named(self.largest + 1)} does not."

    def _outcome(self, value: int) -> str:
        record = self.records[value]
        if record.ending == "interrupted":
            return "was interrupted"
        if record.ran_out:
            return "does not fit: it ran out of memory"
        if record.ending == "failed":
            return "failed"
        return "fits" if report.fits(record, self.profile) else "does not fit"

    def _end(self, why: str, status: int) -> None:
        self.ending, self.status = why, status

    def _named(self, value: int | None) -> str:
        return f"{self.values.name}={value}"


def search(program: Program, devices: Devices, values: Range) -> Search:
    """Run the program with one value after another; what it prints is shown where it fails."""
    result = Search(values, devices.profile)

    def attempt(value: int) -> Record:
        with tempfile.TemporaryFile() as output:
            record = None
            try:
                record = run(values.put(program, value), devices, output.fileno())
            finally:
                if record is None or (record.ending == "failed" and not record.ran_out):
                    output.seek(0)
                    lines = output.read().decode(errors="replace").splitlines()
                    print("\n".join(lines[-_SHOWN:]), file=sys.stderr)
        return record

    result.look(attempt)
    return result


def _first_line(record: Record) -> str:
    return record.error.partition("\n")[0] or f"exit status {record.status}"
