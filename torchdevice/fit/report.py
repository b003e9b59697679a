"""What `torchdevice fit` says of a record: a text for people, data for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from torchdevice.fit import roofline
from torchdevice.fit.beside import beside
from torchdevice.fit.gpus import GPUS
from torchdevice.fit.record import Peak, Record

_ENDINGS = {
    "out of memory": "The program ran out of the device's memory; all figures are of what came before.",
    "failed": "The program failed; all figures are of what came before.",
    "interrupted": "The program was interrupted; all figures are of what came before.",
}

#: Of a run that ran out of memory and may have less address space than the devices have memory.
NO_ADDRESSES = (
    "it may be the process's address space that ran out (ulimit -v); it needs as much as the devices have memory"
)


def fits(record: Record, profile: str) -> bool:
    """Whether the largest peak, with what a GPU takes beside it, is within the profile's memory.

    A program that was refused memory and went on did not have what it asked for: it does not fit.
    """
    return not record.ran_out and record.reserved + _beside(profile) <= GPUS[profile].memory


def data(record: Record, profile: str) -> dict[str, Any]:
    """Sizes in bytes, times in seconds."""
    devices = []
    for peak in record.peaks:
        time: dict[str, Any] = {"basis": roofline.BASIS, "rates": GPUS[profile].source}
        for name, step in (("run", False), ("step", True)):
            if record.steps or not step:
                time[name] = asdict(estimate(record, profile, peak.device, step=step))
        memory = asdict(peak)
        del memory["curve"], memory["curve_seconds"]
        devices.append({**memory, "time": time})
    return {
        "profile": profile,
        "fits": fits(record, profile),
        "fits_profiles": _profiles_that_fit(record),
        "ending": record.ending,
        "out_of_memory": record.ooms,
        "address_space": record.address_space if record.ran_out else None,
        "error": record.error,
        "status": record.status,
        "ranks": record.ranks,
        "devices": devices,
        "communication": [asdict(one) for one in record.communication],
        "beside": [one._asdict() for one in beside(profile)],
        "host_reads": [asdict(one) for one in record.reads],
        "copied": record.copied,
        "dry_run": {"seconds": record.seconds, "resident": record.resident},
    }


def text(record: Record, profile: str) -> str:
    return "\n".join(_lines(record, profile))


def size(count: float) -> str:
    """ "3.2 GiB" """
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def _beside(profile: str) -> int:
    return sum(one.bytes for one in beside(profile))


def _profiles_that_fit(record: Record) -> list[str]:
    return [] if record.ending != "ended" or record.ran_out else [name for name in GPUS if fits(record, name)]


def estimate(record: Record, profile: str, device: int, *, step: bool) -> roofline.Estimate:
    """Of the last step of an optimizer, or of all."""
    work = [one for one in record.work if one.device == device]
    sent = [one for one in record.communication if one.device == device]
    return roofline.estimate(work, GPUS[profile], tf32=record.tf32, step=step, communication=sent)


def _lines(record: Record, profile: str) -> Iterator[str]:
    gpu = GPUS[profile]
    yield f"torchdevice fit: {profile}, {size(gpu.memory)}; nothing was computed"
    yield from notes(record)
    if not record.peaks:
        yield "No memory of a device was used."
    for peak in record.peaks:
        yield ""
        yield from _memory(peak)
        yield ""
        yield from _time(record, profile, peak.device)
    yield ""
    yield verdict(record, profile)
    for one in beside(profile):
        yield f"  {size(one.bytes):>11}  {one.what} ({one.source})"
    if record.ending == "ended" and not record.ran_out:
        yield f"  it fits: {', '.join(_profiles_that_fit(record)) or 'no profile'}"
    yield ""
    yield from _reads(record)
    yield f"The dry run took {record.seconds:.1f} s and {size(record.resident)} of the host's memory."


def notes(record: Record) -> Iterator[str]:
    """What else than to end well the program did, and whose figures these are."""
    if record.ending != "ended":
        yield f"{_ENDINGS[record.ending]}{' ' + record.error.splitlines()[0] if record.error else ''}"
    if record.ooms and record.ending != "out of memory":
        yield f"It was refused memory of the device, and went on, {record.ooms} x; all figures are of what it got."
    if record.ranks > 1:
        yield f"One rank of {record.ranks} was run, and nothing was sent: each is taken to be like it."


def verdict(record: Record, profile: str) -> str:
    if record.ran_out and record.address_space is not None:
        return f"NO VERDICT: {NO_ADDRESSES}, and has {size(record.address_space)}"
    word = "DOES NOT FIT" if not fits(record, profile) else "fits" if record.ending == "ended" else "fits so far"
    reserved, around, whole = map(size, (record.reserved, _beside(profile), GPUS[profile].memory))
    return f"{word}: {reserved} reserved and {around} beside it, of {whole}"


def _table(rows: Iterable[tuple[str, int]], total: int) -> Iterator[str]:
    for name, count in rows:
        yield f"  {size(count):>11}  {count / max(total, 1):>4.0%}  {name}"


def _memory(peak: Peak) -> Iterator[str]:
    yield (
        f"cuda:{peak.device}: peak {size(peak.allocated)} allocated ({peak.allocated} bytes), "
        f"{size(peak.reserved)} reserved ({peak.reserved} bytes)"
    )
    if peak.is_cut:
        yield "  The history no longer has that moment. Kinds and lines are of the highest one that it has."
    yield from _table(peak.kinds.items(), peak.allocated)
    if peak.modules:
        yield "  activations by module:"
        largest = list(peak.modules.items())
        yield from _table(largest[:10], peak.allocated)
        if rest := sum(count for _name, count in largest[10:]):
            yield from _table([(f"{len(largest) - 10} others", rest)], peak.allocated)
    if peak.stack:
        yield "  at the peak the program was in:"
        yield from (f"    {line}" for line in peak.stack[:6])


def _time(record: Record, profile: str, device: int) -> Iterator[str]:
    whole = estimate(record, profile, device, step=False)
    if not whole.kernels:
        return
    total = whole
    if record.steps:
        total = estimate(record, profile, device, step=True)
        yield f"cuda:{device}: {spread(total)} for a step, the last of {record.steps} ({amounts(total)})"
        yield f"  the whole run: {spread(whole)} ({amounts(whole)})"
    else:
        yield f"cuda:{device}: {spread(whole)} for the whole run ({amounts(whole)})"
    yield f"  {roofline.BASIS}"
    yield f"  rates: {GPUS[profile].source}"
    yield "  of the lower figure: " + ", ".join(
        f"{name} {part / total.lower:.0%}"
        for name, part in (("arithmetic", total.arithmetic), ("memory", total.memory), ("launches", total.launches))
    )
    for one in total.operators[:10]:
        yield f"  {_seconds(one.seconds):>11}  {one.seconds / total.lower:>4.0%}  {one.name}, {one.calls} calls"
    yield from communication(total, profile)
    dtypes = {one.dtype for one in record.work if one.flops}
    yield from (f"  would help: {line}" for line in roofline.advice(total, dtypes=dtypes))


def communication(total: roofline.Estimate, profile: str) -> Iterator[str]:
    """What ranks send to each other, and how long it takes."""
    if not total.sent:
        return
    yield f"  {_seconds(total.communication)} of communication, {size(total.sent)} sent by each rank"
    if total.sent > total.unknown:
        yield f"  {roofline.RINGS}; link: {GPUS[profile].link} GB/s each way"
    if total.unknown:
        why = "no figure of its link is known" if GPUS[profile].link is None else "between hosts no rate is known"
        yield f"  {size(total.unknown)} of it are not in the time: {why}"


def spread(total: roofline.Estimate) -> str:
    """ "1.20 ms to 3.10 ms" """
    return f"{_seconds(total.lower)} to {_seconds(total.upper)}"


def amounts(total: roofline.Estimate) -> str:
    """How much work it is."""
    return f"{total.kernels} kernels, {total.flops / 1e12:.3g} TFLOP, {size(total.bytes)} moved"


def _seconds(seconds: float) -> str:
    return (
        f"{seconds:.2f} s"
        if seconds >= 1
        else f"{seconds * 1e3:.2f} ms"
        if seconds >= 1e-3
        else f"{seconds * 1e6:.0f} us"
    )


def _reads(record: Record) -> Iterator[str]:
    if not record.reads:
        return
    yield "The program asked for data, which a dry run does not have (docs/fit.md says what it gets):"
    ordered = sorted(record.reads, key=lambda one: -one.count)
    for one in ordered[:10]:
        yield f"  {one.count:>6} x {one.what}  {one.where}"
    if len(ordered) > 10:
        yield f"  and at {len(ordered) - 10} other places"
