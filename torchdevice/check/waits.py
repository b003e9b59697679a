"""Where the host waited for the device, line by line, and what is too much of it."""

from __future__ import annotations

from dataclasses import dataclass

from torchdevice.check.findings import Finding, Frame, Place, program_lines, stack_of

_LINES = 10  #: of the table


@dataclass(frozen=True)
class Wait:
    """A line of the program that makes the host wait."""

    #: None on a thread that runs no Python code.
    line: Frame | None
    stack: tuple[Frame, ...]
    #: What waited: operators; empty where the program itself asked to wait, by synchronize() or an event.
    operators: tuple[str, ...]
    count: int
    #: Operators that were queued then and not known to be done: what a GPU would have had to finish first, in all.
    queued: int


def waits() -> list[Wait]:
    """All lines, those that waited most often first."""
    from torchdevice import _C  # loads only where torch is imported

    lines: dict[tuple[Frame | None, bool], Wait] = {}
    for operator, raw, count, queued in _C.check_waits():
        stack = stack_of(raw)
        line = next(iter(program_lines(stack)), None)
        key = (line, bool(operator))
        known = lines.get(key, Wait(line, stack, (), 0, 0))
        operators = dict.fromkeys([*known.operators, *([operator] if operator else [])])
        lines[key] = Wait(line, known.stack, tuple(operators), known.count + count, known.queued + queued)
    return sorted(lines.values(), key=lambda one: -one.count)


def table(found: list[Wait]) -> str:
    """Those that nobody asked for, as text; empty where there are none."""
    unasked = [wait for wait in found if wait.operators]
    if not unasked:
        return ""
    total = sum(wait.count for wait in unasked)
    lines = [f"The host waited for the device {total:,} times, at {len(unasked)} lines:"]
    for wait in unasked[:_LINES]:
        lines.append(f"  {wait.count:,} times, for {wait.queued:,} operators: {', '.join(wait.operators)}")
        lines.append(f"    {wait.line or 'a thread without Python code'}")
    if len(unasked) > _LINES:
        lines.append(f"  and {len(unasked) - _LINES} more lines")
    return "\n".join(lines)


def over_budget(found: list[Wait], budget: int) -> list[Finding]:
    """One finding for each line that waited more often than that, without being asked to."""
    return [
        Finding(
            "sync",
            f"{', '.join(wait.operators)} made the host wait for the device {wait.count:,} times at this line, and "
            f"{budget:,} are allowed. Each time a GPU finishes what is queued and then idles until the host is back.",
            "Keep the value on the device, read it once for many steps, or copy it with non_blocking=True and wait for "
            "an event later.",
            (Place(", ".join(wait.operators), None, None, wait.stack),),
            wait.count,
        )
        for wait in found
        if wait.operators and wait.count > budget
    ]
