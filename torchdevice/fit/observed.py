"""What is to be kept of a dry run that has just ended, in the process where it ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from torchdevice import _C
from torchdevice.fit.kinds import Marks
from torchdevice.fit.record import Peak, Read, Record
from torchdevice.fit.work import work_of

#: The caching allocator's smallest unit.
_UNIT = 512

_LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parent.parent), "<frozen ", "<string>")


class _Block(NamedTuple):
    address: int
    size: int
    born: int  #: microseconds
    position: int  #: in the device's trace
    entry: dict[str, Any]


def fill(record: Record, marks: Marks) -> None:
    """The memory of each device that was used, what was read, and the work."""
    traces = torch.cuda.memory._snapshot()["device_traces"]
    for device in range(torch.cuda.device_count()):
        peak = Peak(
            device,
            torch.cuda.max_memory_allocated(device),
            torch.cuda.max_memory_reserved(device),
            torch.cuda.memory_allocated(device),
        )
        if peak.reserved:
            _explain(peak, traces[device], marks)
            record.peaks.append(peak)
    record.reads = [Read(what, where, count) for what, where, count in _C.dry_host_reads()]
    record.work = [work_of(*call) for call in _C.dry_calls()]
    record.steps = marks.steps
    record.copied = _C.dry_copied_bytes()
    record.tf32 = torch.backends.cuda.matmul.allow_tf32


def _explain(peak: Peak, trace: list[dict[str, Any]], marks: Marks) -> None:
    """Of what kind the blocks are that lived at the peak, and where the program was."""
    blocks, moment, deaths = _at_peak(trace)
    if moment is not None:
        peak.stack = _lines(moment.get("frames", ()))
    kinds: dict[str, int] = defaultdict(int)
    modules: dict[str, int] = defaultdict(int)
    for block in blocks:
        kind = marks.kind_of(peak.device, block.address, block.born, deaths.get(block.position)) or _kind(block)
        kinds[kind] += block.size
        if kind == "activations":
            modules[_anonymous(block.entry["user_metadata"])] += block.size
    rest = peak.allocated - sum(kinds.values())
    if rest:
        kinds["rounding, and remainders that are not split off"] += rest
    peak.kinds = dict(sorted(kinds.items(), key=lambda one: -one[1]))
    peak.modules = dict(sorted(modules.items(), key=lambda one: -one[1]))


def _at_peak(trace: list[dict[str, Any]]) -> tuple[list[_Block], dict[str, Any] | None, dict[int, int]]:
    """The blocks that lived when most was allocated, the allocation that made it so, and when blocks died."""
    live: dict[int, _Block] = {}
    total = most = 0
    best: list[_Block] = []
    moment: dict[str, Any] | None = None
    deaths: dict[int, int] = {}
    peak_at = -1
    for position, entry in enumerate(trace):
        if entry["action"] == "alloc":
            size = -(-entry["size"] // _UNIT) * _UNIT
            live[entry["addr"]] = _Block(entry["addr"], size, entry["time_us"], position, entry)
            total += size
            if total > most:
                most, peak_at, moment = total, position, entry
        elif entry["action"] == "free_requested":
            gone = live.pop(entry["addr"], None)
            if gone is not None:
                total -= gone.size
                deaths[gone.position] = entry["time_us"]
    # Once more up to that moment: to copy the blocks at each new peak would take the square of their number.
    live.clear()
    for position, entry in enumerate(trace[: peak_at + 1]):
        if entry["action"] == "alloc":
            size = -(-entry["size"] // _UNIT) * _UNIT
            live[entry["addr"]] = _Block(entry["addr"], size, entry["time_us"], position, entry)
        elif entry["action"] == "free_requested":
            live.pop(entry["addr"], None)
    best = list(live.values())
    return best, moment, deaths


def _kind(block: _Block) -> str:
    """Of a block that no hook has seen: by the code that allocated it."""
    names = {(Path(frame["filename"]).parent.name, frame["name"]) for frame in block.entry.get("frames", ())}
    if any(folder == "optim" for folder, _name in names):
        return "temporary, of the optimizer"
    if block.entry.get("user_metadata"):
        return "activations"
    if any(name == "_engine_run_backward" for _folder, name in names):
        return "temporary, of the backward pass"
    return "other (inputs, losses)"


def _anonymous(module: str) -> str:
    """A module's name without the numbers of layers, so that layers of a kind are one."""
    return ".".join("*" if part.isdecimal() else part for part in module.split("."))


def _lines(frames: Iterable[dict[str, Any]]) -> list[str]:
    """The program's own frames."""
    return [
        f"{frame['filename']}:{frame['line']} {frame['name']}"
        for frame in frames
        if not frame["filename"].startswith(_LIBRARIES)
    ]
