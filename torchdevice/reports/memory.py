"""The allocator's history as a curve for each device, and what filled the memory when it was fullest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_ALLOCATED = {"alloc": 1, "free_completed": -1}
_RESERVED = {"segment_alloc": 1, "segment_free": -1}
#: Frames of these are not the program's.
_NOT_THE_PROGRAMS = ("/torch/", "/torchdevice/", "<frozen", "/runpy.py", "torch::", "??")


@dataclass(frozen=True)
class Curve:
    """Bytes of one device over time."""

    device: int
    #: Seconds since the epoch, bytes allocated, bytes reserved.
    points: list[tuple[float, int, int]]
    peak: int
    #: Bytes that lay allocated at the peak, by the line of the program that asked for them.
    at_peak: Counter[str] = field(default_factory=Counter)
    #: Events before the first of these, which the history no longer has, may be missing.
    is_cut: bool = False


def curves(snapshot: dict[str, Any], columns: int, limit: int) -> list[Curve]:
    """Of the devices that were used; they share the columns."""
    found = []
    used = sum(bool(events) for events in snapshot["device_traces"])
    for device, events in enumerate(snapshot["device_traces"]):
        segments = [segment for segment in snapshot["segments"] if segment["device"] == device]
        if events:
            found.append(_curve(device, events, segments, columns // used, len(events) >= limit))
    return found


def _curve(device: int, events: list[Any], segments: list[Any], columns: int, is_cut: bool) -> Curve:
    # From the end, which is known: what came before the history began is in neither sum.
    allocated = sum(one["allocated_size"] for one in segments) - _sum(events, _ALLOCATED)
    reserved = sum(one["total_size"] for one in segments) - _sum(events, _RESERVED)
    alive: dict[int, tuple[int, str]] = {}
    fullest: dict[int, tuple[int, str]] | None = None
    peak, points = allocated, []
    for event in events:
        action, size = event["action"], event["size"]
        # Looked at when it falls: a copy at every new height would cost the square of their number.
        if action == "free_completed" and fullest is None and allocated == peak:
            fullest = dict(alive)
        allocated += _ALLOCATED.get(action, 0) * size
        reserved += _RESERVED.get(action, 0) * size
        if action == "alloc":
            alive[event["addr"]] = (size, _site(event))
            if allocated > peak:
                peak, fullest = allocated, None
        elif action == "free_completed":
            alive.pop(event["addr"], None)
        points.append((event["time_us"] / 1e6, allocated, reserved))
    at_peak: Counter[str] = Counter()
    for size, site in (alive if fullest is None else fullest).values():
        at_peak[site] += size
    return Curve(device, _thinned(points, columns), peak, at_peak, is_cut)


def _sum(events: list[Any], signs: dict[str, int]) -> int:
    return sum(signs.get(event["action"], 0) * event["size"] for event in events)


def _site(event: dict[str, Any]) -> str:
    """The innermost line outside of torch."""
    for frame in event.get("frames", ()):
        if not any(part in frame["filename"] for part in _NOT_THE_PROGRAMS):
            return f"{frame['filename']}:{frame['line']}"
    return "torch"


def _thinned(points: list[tuple[float, int, int]], columns: int) -> list[tuple[float, int, int]]:
    """At most so many pairs: of each part of the time the highest point, and the last."""
    if len(points) <= 2 * columns:
        return points
    first, last = points[0][0], points[-1][0]
    length = max(last - first, 1e-9)
    parts: dict[int, list[tuple[float, int, int]]] = {}
    for point in points:
        parts.setdefault(int((point[0] - first) / length * (columns - 1)), []).append(point)
    return [one for part in parts.values() for one in dict.fromkeys((max(part, key=lambda point: point[1]), part[-1]))]
