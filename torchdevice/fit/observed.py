"""What is to be kept of a dry run that has just ended, in the process where it ran."""

from __future__ import annotations

import resource
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from torchdevice import _C
from torchdevice.fit.kinds import Marks
from torchdevice.fit.record import Peak, Read, Record
from torchdevice.fit.work import work_of

#: The caching allocator's smallest unit.
_UNIT = 512

#: Parts of the time, of each of which the curve has the fullest moment.
COLUMNS = 240

_LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parent.parent), "<frozen ", "<string>")


#: What ranks need beside each other's shares: by the folder of torch's and the function that allocates it.
_OF_RANKS = (
    ("gathered by FSDP", ("fsdp", "_fully_shard"), ("unshard", "_unshard", "wait_for_unshard")),
    ("gradients to be scattered, of FSDP", ("fsdp", "_fully_shard"), ("post_backward", "_post_backward_hook")),
    ("buckets of DistributedDataParallel", ("parallel",), ("_ddp_init_helper", "_pre_forward")),
)


class _Block(NamedTuple):
    address: int
    size: int
    born: int  #: microseconds
    position: int  #: in the device's trace; below 0 before it
    entry: dict[str, Any]


def fill(record: Record, marks: Marks, *, curves: bool) -> None:
    """The memory of each device that was used, what was read, and the work; `curves`: the memory over time, too."""
    snapshot = torch.cuda.memory._snapshot()
    devices = range(torch.cuda.device_count())
    for device in devices:
        peak = Peak(
            device,
            torch.cuda.max_memory_allocated(device),
            torch.cuda.max_memory_reserved(device),
            torch.cuda.memory_allocated(device),
        )
        if peak.reserved:
            _explain(peak, snapshot, marks, curves=curves)
            record.peaks.append(peak)
        record.ooms += torch.cuda.memory_stats(device).get("num_ooms", 0)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < sum(torch.cuda.mem_get_info(device)[1] for device in devices):
        record.address_space = limit
    record.reads = [Read(what, where, count) for what, where, count in _C.dry_host_reads()]
    record.work = [work_of(*call) for call in _C.dry_calls()]
    record.steps = marks.steps
    record.copied = _C.dry_copied_bytes()
    record.tf32 = torch.backends.cuda.matmul.allow_tf32


def _explain(peak: Peak, snapshot: dict[str, Any], marks: Marks, *, curves: bool) -> None:
    """Of what kind the blocks are that lived at the peak, and where the program was."""
    trace = snapshot["device_traces"][peak.device]
    older = _older(trace, [one for one in snapshot["segments"] if one["device"] == peak.device])
    blocks, moment, deaths = _at_peak(trace, older)
    if moment is not None:
        peak.stack = _lines(moment.get("frames", ()))
    kinds: dict[str, int] = defaultdict(int)
    modules: dict[str, int] = defaultdict(int)

    def kind_of(block: _Block) -> str:
        died = deaths.get(block.position)
        return marks.kind_of(peak.device, block.address, block.born, died) or _kind(block)

    for block in blocks:
        kind = kind_of(block)
        kinds[kind] += block.size
        if kind == "activations":
            modules[_anonymous(block.entry["user_metadata"])] += block.size
    rest = peak.allocated - sum(kinds.values())
    if older and rest:
        peak.is_cut = True
        kinds["of a moment that the history no longer has"] += rest
    elif rest:
        kinds["rounding, and remainders that are not split off"] += rest
    if curves:  # the kinds of all blocks that there ever were: seconds, for a long program
        _draw(peak, trace, older, kind_of)
    peak.kinds = dict(sorted(kinds.items(), key=lambda one: -one[1]))
    peak.modules = dict(sorted(modules.items(), key=lambda one: -one[1]))


def _draw(peak: Peak, trace: list[dict[str, Any]], older: list[_Block], kind_of: Callable[[_Block], str]) -> None:
    """The curve of memory by kind."""
    live = {block.address: (kind_of(block), block.size) for block in older}
    now: Counter[str] = Counter()
    for kind, size in live.values():
        now[kind] += size
    first, last = (trace[0]["time_us"], trace[-1]["time_us"]) if trace else (0, 0)
    fullest = [Counter(now)]
    total = most = now.total()
    for position, entry in enumerate(trace):
        column = (entry["time_us"] - first) * (COLUMNS - 1) // max(last - first, 1)
        while len(fullest) <= column:
            fullest.append(Counter(now))
            most = total
        if entry["action"] == "alloc":
            block = _Block(entry["addr"], _rounded(entry["size"]), entry["time_us"], position, entry)
            kind = kind_of(block)
            live[block.address] = kind, block.size
            now[kind] += block.size
            total += block.size
        elif entry["action"] == "free_requested" and entry["addr"] in live:
            kind, size = live.pop(entry["addr"])
            now[kind] -= size
            total -= size
        if total > most:
            most, fullest[column] = total, Counter(now)
    names = {name for moment in fullest for name in moment}
    peak.curve = {name: [moment[name] for moment in fullest] for name in sorted(names)}
    peak.curve_seconds = (last - first) / 1e6


def _older(trace: list[dict[str, Any]], segments: list[dict[str, Any]]) -> list[_Block]:
    """Blocks that were there before the history begins, which keeps only the last entries."""
    known: set[int] = set()
    found: list[tuple[int, int]] = []
    for entry in trace:
        if entry["action"] == "alloc":
            known.add(entry["addr"])
        elif entry["action"] == "free_requested" and entry["addr"] not in known:
            known.add(entry["addr"])
            found.append((entry["addr"], entry["size"]))
    found += [
        (block["address"], block["size"])
        for segment in segments
        for block in segment["blocks"]
        if block["state"] == "active_allocated" and block["address"] not in known
    ]
    return [_Block(address, _rounded(size), 0, ~number, {}) for number, (address, size) in enumerate(found)]


def _at_peak(
    trace: list[dict[str, Any]], older: list[_Block]
) -> tuple[list[_Block], dict[str, Any] | None, dict[int, int]]:
    """The blocks that lived when most was allocated, the allocation that made it so, and when blocks died."""
    live = {block.address: block for block in older}
    total = most = sum(block.size for block in older)
    moment: dict[str, Any] | None = None
    deaths: dict[int, int] = {}
    peak_at = -1
    for position, entry in enumerate(trace):
        if entry["action"] == "alloc":
            total += _add(live, position, entry)
            if total > most:
                most, peak_at, moment = total, position, entry
        elif entry["action"] == "free_requested":
            gone = live.pop(entry["addr"], None)
            if gone is not None:
                total -= gone.size
                deaths[gone.position] = entry["time_us"]
    # Once more up to that moment: to copy the blocks at each new peak would take the square of their number.
    live = {block.address: block for block in older}
    for position, entry in enumerate(trace[: peak_at + 1]):
        if entry["action"] == "alloc":
            _add(live, position, entry)
        elif entry["action"] == "free_requested":
            live.pop(entry["addr"], None)
    return list(live.values()), moment, deaths


def _add(live: dict[int, _Block], position: int, entry: dict[str, Any]) -> int:
    size = _rounded(entry["size"])
    live[entry["addr"]] = _Block(entry["addr"], size, entry["time_us"], position, entry)
    return size


def _rounded(size: int) -> int:
    return -(-size // _UNIT) * _UNIT


def _kind(block: _Block) -> str:
    """Of a block that no hook has seen: by the code that allocated it."""
    if not block.entry:
        return "from before the history that is kept"
    names = {(Path(frame["filename"]).parent.name, frame["name"]) for frame in block.entry.get("frames", ())}
    if any(folder == "optim" for folder, _name in names):
        return "temporary, of the optimizer"
    for kind, folders, functions in _OF_RANKS:
        if any(folder in folders and name in functions for folder, name in names):
            return kind
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
