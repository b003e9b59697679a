"""An estimate of a GPU's time from work: each operator takes as long as its arithmetic or its bytes, whichever is more.

Two figures, never one. The lower is what the data sheet's peak rates allow, caches left out. The upper takes the
shares of those rates below, which large kernels in eager mode commonly keep up, and the launches of a host that is
slower than the GPU. What ranks send to each other goes on beside the work in the lower figure, and after it in the
upper one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from torchdevice.fit.gpus import Gpu
from torchdevice.fit.record import Communication, Work

#: Of the peak rates, in the upper figure.
ARITHMETIC_SHARE, BANDWIDTH_SHARE, LINK_SHARE = 0.4, 0.6, 0.5

#: Seconds between two kernels, one after the other on the device, and at least for one that Python launches.
DEVICE_GAP, HOST_LAUNCH = 1.5e-6, 10e-6

#: Seconds at least for a collective, in the upper figure.
LATENCY = 20e-6

BASIS = (
    f"lower: the data sheet's peak rates and {DEVICE_GAP * 1e6:.1f} us a kernel; upper: {ARITHMETIC_SHARE:.0%} of peak "
    f"arithmetic, {BANDWIDTH_SHARE:.0%} of peak bandwidth and at least {HOST_LAUNCH * 1e6:.0f} us a launch"
)

#: Of communication.
RINGS = (
    "rings: 2(n-1)/n of the bytes are sent by each rank for an all-reduce, (n-1)/n for gathers, scatters and "
    f"all-to-all, all of them otherwise; lower: at the link's rate and beside the work; upper: at {LINK_SHARE:.0%} of "
    f"it and at least {LATENCY * 1e6:.0f} us each, after the work"
)


@dataclass
class Operator:
    """Seconds at peak rates, of all calls of one operator."""

    name: str
    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0


@dataclass
class Estimate:
    """Seconds on one device."""

    lower: float = 0.0
    upper: float = 0.0
    arithmetic: float = 0.0  #: of the lower figure: operators that their arithmetic bounds
    memory: float = 0.0  #: those that bytes bound
    launches: float = 0.0  #: the gaps between kernels
    communication: float = 0.0  #: what ranks send to each other, at the link's rate; not in the sum of these three
    kernels: int = 0
    flops: float = 0.0
    bytes: float = 0.0
    sent: int = 0  #: bytes, by this rank to others
    unknown: int = 0  #: bytes of those, of which no rate is known: another host's, or of a GPU without a figure
    operators: list[Operator] = field(default_factory=list)  #: the dearest first


def estimate(
    work: Iterable[Work],
    gpu: Gpu,
    *,
    tf32: bool,
    step: bool = False,
    communication: Iterable[Communication] = (),
) -> Estimate:
    """For the work of one device; `step`: only that of the last step."""
    total = Estimate()
    by_name: dict[str, Operator] = defaultdict(lambda: Operator(""))
    busy = 0.0
    for one in work:
        count = one.in_step if step else one.count
        arithmetic = one.flops / rate(one.dtype, gpu, tf32=tf32)
        memory = one.bytes / (gpu.bandwidth * 1e9)
        seconds = max(arithmetic, memory)
        busy += count * max(arithmetic / ARITHMETIC_SHARE, memory / BANDWIDTH_SHARE, HOST_LAUNCH)
        if arithmetic > memory:
            total.arithmetic += count * seconds
        else:
            total.memory += count * seconds
        total.kernels += count
        total.flops += count * one.flops
        total.bytes += count * one.bytes
        operator = by_name[one.operator]
        operator.name = one.operator
        operator.calls += count
        operator.seconds += count * (seconds + DEVICE_GAP)
        operator.flops += count * one.flops
        operator.bytes += count * one.bytes
    total.launches = total.kernels * DEVICE_GAP
    waited = 0.0
    for call in communication:
        count = call.in_step if step else call.count
        total.sent += count * call.sent
        if gpu.link is None or not call.within_host:
            total.unknown += count * call.sent
            continue
        seconds = call.sent / (gpu.link * 1e9)
        total.communication += count * seconds
        waited += count * max(seconds / LINK_SHARE, LATENCY)
    work_seconds = total.arithmetic + total.memory + total.launches
    total.lower = max(work_seconds, total.communication)
    total.upper = max(busy, work_seconds) + waited
    total.operators = sorted((one for one in by_name.values() if one.calls), key=lambda one: -one.seconds)
    return total


def rate(dtype: str, gpu: Gpu, *, tf32: bool) -> float:
    """Peak operations a second for products of that type."""
    tera = {
        "float64": gpu.float64,
        "complex128": gpu.float64,
        "float32": gpu.tf32 if tf32 else gpu.float32,
        "complex64": gpu.float32,
        "float16": gpu.half,
        "bfloat16": gpu.half,
    }.get(dtype)
    if tera is None:
        tera = (gpu.float8 or gpu.half) if dtype.startswith("float8") else gpu.float32
    return tera * 1e12


def advice(total: Estimate, *, dtypes: set[str]) -> list[str]:
    """What would make it faster, as far as the figures say."""
    lines = []
    host = total.kernels * HOST_LAUNCH
    if host > total.arithmetic + total.memory:
        lines.append("launches cost more than the work: larger batches, torch.compile or CUDA graphs")
    if total.memory > total.arithmetic and host <= total.arithmetic + total.memory:
        lines.append("bytes bound most of it: fused operators (torch.compile, fused attention and optimizers)")
    if "float32" in dtypes and total.arithmetic > total.memory:
        lines.append("products are in float32: bfloat16 autocast has tensor cores at many times the rate")
    return lines
