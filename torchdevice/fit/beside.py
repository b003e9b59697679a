"""What a GPU takes beside torch's allocator, from published figures."""

from __future__ import annotations

from typing import NamedTuple


class Beside(NamedTuple):
    what: str
    bytes: int
    source: str


def beside(profile: str) -> list[Beside]:
    """Not part of allocated and reserved."""
    hopper = profile in ("h100", "h200")
    return [
        Beside(
            "CUDA context with torch's kernels",
            1343 << 20,
            "transformers' documentation, Model training anatomy, of a V100; 300 MiB to 1.3 GiB are common",
        ),
        Beside(
            "cuBLAS workspace, for each stream with products",
            32 << 20 if hopper else 8_519_680,
            "torch's default, CublasHandlePool.cpp",
        ),
    ]
