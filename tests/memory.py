"""Memory of a device without a meaning, for tests of allocators."""

from __future__ import annotations

import torch

MIB = 1 << 20


def raw(nbytes: int, device: str = "cuda") -> torch.Tensor:
    """That many bytes."""
    return torch.empty(nbytes, dtype=torch.uint8, device=device)


def raw_mib(count: int, device: str = "cuda") -> torch.Tensor:
    """That many MiB."""
    return raw(count * MIB, device)
