"""The releases of torch and of Python that torchdevice is for."""

from __future__ import annotations

from collections.abc import Iterable

#: One release of each minor of torch, which a wheel's engine for that minor is compiled and checked against; and the
#: Pythons that it exists for.
TORCHS = {
    "2.12.1": ("cp310", "cp311", "cp312", "cp313", "cp314"),
    "2.13.0": ("cp310", "cp311", "cp312", "cp313", "cp314"),
    "2.14.1": ("cp310", "cp311", "cp312", "cp313", "cp314"),
    "2.15.0": ("cp311", "cp312", "cp313", "cp314"),
}

#: Developed with, and built for where a build finds no torch: its CPU build is a download of 0.2 GB, not of gigabytes.
DEFAULT_TORCH = "2.13.0"


def torch_range(torchs: Iterable[str] = TORCHS) -> str:
    """What a wheel with engines for these requires, as torch>=2.12,<2.16."""
    minors = sorted(tuple(int(number) for number in torch.split(".")[:2]) for torch in torchs)
    (first_major, first), (last_major, last) = minors[0], minors[-1]
    return f"torch>={first_major}.{first},<{last_major}.{last + 1}"
