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
            "transformers' documentation, Model training anatomy, with all kernels loaded; about 300 MB where they are "
            "loaded when needed, as since CUDA 11.7: pytorch issue 107667",
        ),
        Beside(
            "cuBLAS workspace, for each stream with products",
            32 << 20 if hopper else 8_519_680,
            "torch's default, CublasHandlePool.cpp",
        ),
    ]
