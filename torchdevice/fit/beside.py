"""What a GPU takes beside torch's allocator, from published figures."""

from __future__ import annotations

from typing import NamedTuple

from torchdevice.fit.gpus import GPUS

#: GiB that torch counts as a card's own: the least of the "total capacity" in its out-of-memory messages that people
#: have published of such cards, seen on 2026-11-30. Error correction and the driver take the rest.
_COUNTED = {
    "v100": 15.77,
    "t4": 14.56,
    "a100": 79.14,
    "a100-40gb": 39.38,
    "a10g": 22.03,
    "rtx3090": 23.56,
    "l4": 22.03,
    "l40s": 44.39,
    "rtx4090": 23.52,
    "h100": 79.10,
    "h200": 139.72,
    "rtx5090": 31.36,
}


class Beside(NamedTuple):
    what: str
    bytes: int
    source: str


def beside(profile: str) -> list[Beside]:
    """Not part of allocated and reserved."""
    hopper = profile in ("h100", "h200")
    return [
        Beside(
            "kept by the card and its driver",
            GPUS[profile].memory - int(_COUNTED[profile] * (1 << 30)),
            f"torch's out-of-memory messages count {_COUNTED[profile]:.2f} GiB on such cards, or a little more",
        ),
        Beside(
            "CUDA context with torch's kernels",
            1343 << 20,
            "transformers' documentation, Model training anatomy, with all kernels loaded; about 300 MB where they are "
            "loaded when needed, as since CUDA 11.7: pytorch issue 107667",
        ),
        Beside(
            "cuBLAS workspace, for each stream with products",
            32 << 20 if hopper else 8_519_680,
            "torch's default, CublasHandlePool.cpp",
        ),
    ]
