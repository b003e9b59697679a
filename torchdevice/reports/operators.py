"""What ran on the native backend and what on the CPU: `torchdevice.report()`.

Calls are always counted where there is a choice, over MPS. Under TORCHDEVICE_REPORT=1, which must be set before torch
is imported, bytes, times and call sites are kept too, and over the CPU backend as well; there nothing can fall back,
as the CPU is the native backend.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from torchdevice.activation import status


@dataclass(frozen=True)
class Tally:
    """An operator's calls on one side. All but the number of calls is zero where TORCHDEVICE_REPORT is not 1."""

    calls: int
    #: Of the tensors that the operator was given.
    bytes: int
    #: On MPS until the work was submitted, on the CPU until it was done.
    seconds: float
    #: file:line of the first call, the innermost outside of torch; None on a thread that runs no Python code.
    call_site: str | None


@dataclass(frozen=True)
class Operator:
    """One operator; views, factories and what is composed of other operators have none."""

    name: str
    native: Tally
    cpu: Tally
    #: Why the first call on the CPU was made there; None if there was none.
    reason: str | None


@dataclass(frozen=True)
class Report:
    """What this process has done on "cuda" until now."""

    backend: str
    #: Whether bytes, times and call sites were kept (and calls at all, over the CPU).
    detailed: bool
    operators: tuple[Operator, ...]
    #: Waits for the native backend because the CPU's turn came, and in all; seconds spent in them.
    transitions: int
    synchronizations: int
    seconds_waited: float
    #: Bytes that were copied because a result of the CPU lay elsewhere.
    copied_bytes: int

    @property
    def fallbacks(self) -> int:
        """Calls that ran on the CPU while the native backend is another one."""
        return sum(operator.cpu.calls for operator in self.operators)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "fallbacks": self.fallbacks}, indent=2)

    def __str__(self) -> str:
        return "\n".join([self._summary(), *self._table()])

    def _summary(self) -> str:
        native = sum(operator.native.calls for operator in self.operators)
        if not self.detailed and self.backend == "cpu":
            return "torchdevice over the CPU: nothing was counted, as TORCHDEVICE_REPORT=1 was not set at the start."
        if self.backend == "cpu":
            return (
                f"torchdevice over the CPU: {native:,} calls of {len(self.operators)} operators. The CPU is the native "
                "backend, so nothing falls back."
            )
        fallen = sum(operator.cpu.calls > 0 for operator in self.operators)
        return (
            f"torchdevice over {self.backend.upper()}: {native:,} native calls; {self.fallbacks:,} calls of {fallen} "
            f"operators fell back to the CPU, with {self.transitions:,} waits ({_milliseconds(self.seconds_waited)} ms "
            f"in {self.synchronizations:,} synchronizations) and {self.copied_bytes:,} bytes copied."
        )

    def _table(self) -> list[str]:
        """Fallbacks first, then by time; operators that nobody called are left out."""
        used = [operator for operator in self.operators if operator.native.calls or operator.cpu.calls]
        used.sort(key=lambda one: (one.cpu.calls == 0, -one.cpu.seconds, -one.native.seconds, one.name))
        if not used:
            return []
        rows = [("operator", "native", "CPU", "MiB", "native ms", "CPU ms", "first call", "why on the CPU")]
        rows += [
            (
                one.name,
                f"{one.native.calls:,}",
                f"{one.cpu.calls:,}",
                f"{(one.native.bytes + one.cpu.bytes) / 2**20:,.2f}",
                _milliseconds(one.native.seconds),
                _milliseconds(one.cpu.seconds),
                (one.cpu if one.cpu.calls else one.native).call_site or "-",
                one.reason or "",
            )
            for one in used
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return [_line(row, widths) for row in rows]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.2f}"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    """Numbers to the right, words to the left."""
    cells = [
        cell.rjust(width) if 1 <= column <= 5 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def report() -> Report:
    """What has run natively and on the CPU so far, in all threads of this process.

    Raises:
        RuntimeError: torchdevice is not active here.
    """
    state = status()
    if not state.active:
        raise RuntimeError(f"torchdevice is not active, so there is nothing to report: {state.reason}")
    from torchdevice import _C  # loads only where torch is imported

    counts = _C.fallback_counts()
    return Report(
        backend=_C.native_backend_name(),
        detailed=_C.report_is_on(),
        operators=tuple(
            Operator(name, _tally(native), _tally(cpu), reason or None)
            for name, native, cpu, reason in _C.operator_tallies()
        ),
        transitions=counts["transitions"],
        synchronizations=counts["synchronizations"],
        seconds_waited=_C.waited_nanoseconds() / 1e9,
        copied_bytes=counts["copied_bytes"],
    )


def _tally(numbers: tuple[int, int, int, str]) -> Tally:
    calls, size, nanoseconds, site = numbers
    return Tally(calls, size, nanoseconds / 1e9, site or None)
