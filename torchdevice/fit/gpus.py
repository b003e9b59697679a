"""Published peak rates of the GPUs that TORCHDEVICE_PROFILE names: dense, at boost clock."""

from __future__ import annotations

import difflib
from typing import NamedTuple


class Gpu(NamedTuple):
    """Rates in 10^12 operations a second, bandwidths in 10^9 bytes a second, memory in bytes."""

    memory: int
    bandwidth: float
    float64: float
    float32: float
    tf32: float
    half: float  #: float16 and bfloat16 with sums in float32, on tensor cores
    float8: float | None
    link: float | None  #: to the other GPUs of a host, each way; None where no figure is known
    source: str


_GIB = 1 << 30

# Where a data sheet prints rates with sparsity, half of them. Where it has none of float64, the architecture's share of
# float32: 1/32 in Turing, 1/64 in GA102 and the graphics chips of Ada and Blackwell. A float32 product uses TF32 only
# where the program allows it, and the GPUs before Ampere have none.
#
# Compared on 2026-11-30 with what is published; where sources differ:
# - T4: 320 GB/s is the product brief's (5001 MHz, 256 bits), and "320+" the product page's; the data sheet prints 300.
# - A10G: no table of NVIDIA's was found. 600 GB/s is the A10's memory, which it shares. 80 multiprocessors at 1.71 GHz
#   make 35 and 70 TFLOPS; lists that take it for an A10 (72 of them) say 31.2, and 125 in half precision.
# - L40S: the data sheet prints 362.05 in half precision, and 733 with sparsity, of which half is 366.5: 568 tensor
#   cores at 2.52 GHz make 366.4.
#
# Links: data sheets print both ways together, half of it is each way's. NVLink where the GPU has it between all of a
# host (V100, A100, H100, H200); else the slot's PCI Express, x16 (T4: 3.0; L4, L40S and GeForce of Ampere and Ada: 4.0;
# RTX 5090: 5.0). GeForce has no direct copies between GPUs, and is slower. The A10G's slot is in no data sheet.
GPUS = {
    "v100": Gpu(16 * _GIB, 900, 7.8, 15.7, 15.7, 125, None, 150, "NVIDIA Tesla V100 data sheet, SXM2"),
    "t4": Gpu(16 * _GIB, 320, 0.254, 8.1, 8.1, 65, None, 16, "NVIDIA T4 data sheet and product brief"),
    "a100": Gpu(80 * _GIB, 2039, 9.7, 19.5, 156, 312, None, 300, "NVIDIA A100 data sheet, SXM 80GB"),
    "a100-40gb": Gpu(40 * _GIB, 1555, 9.7, 19.5, 156, 312, None, 300, "NVIDIA A100 data sheet, SXM 40GB"),
    "a10g": Gpu(24 * _GIB, 600, 0.547, 35.0, 35.0, 70, None, None, "NVIDIA Ampere GA102 white paper, 80 SMs, 1.71 GHz"),
    "rtx3090": Gpu(24 * _GIB, 936, 0.556, 35.6, 35.6, 71, None, 32, "NVIDIA Ampere GA102 white paper"),
    "l4": Gpu(24 * _GIB, 300, 0.473, 30.3, 60, 121, 242, 32, "NVIDIA L4 data sheet"),
    "l40s": Gpu(48 * _GIB, 864, 1.43, 91.6, 183, 366.5, 733, 32, "NVIDIA L40S data sheet"),
    "rtx4090": Gpu(24 * _GIB, 1008, 1.29, 82.6, 82.6, 165.2, 330.3, 32, "NVIDIA Ada GPU Architecture white paper"),
    "h100": Gpu(80 * _GIB, 3350, 34, 67, 494, 989, 1979, 450, "NVIDIA H100 data sheet, SXM"),
    "h200": Gpu(141 * _GIB, 4800, 34, 67, 494, 989, 1979, 450, "NVIDIA H200 data sheet, SXM"),
    "rtx5090": Gpu(32 * _GIB, 1792, 1.64, 104.8, 104.8, 209.5, 419, 64, "NVIDIA RTX Blackwell white paper"),
}


def unknown(name: str) -> str:
    """What to say of a name that is not in the table."""
    near = difflib.get_close_matches(name.lower(), GPUS, n=1)
    hint = f"did you mean {near[0]}?" if near else ""
    return f"no profile {name!r}; {hint + ' ' if hint else ''}there are {', '.join(GPUS)}"
