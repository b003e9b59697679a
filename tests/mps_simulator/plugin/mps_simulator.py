"""torch's entry point for the simulated MPS device, found before torchdevice's as this folder is first on the path."""

from __future__ import annotations

import ctypes
import os


def install() -> None:
    """Load the library that MPS_SIMULATOR names and make device "mps" work."""
    ctypes.CDLL(os.environ["MPS_SIMULATOR"]).mps_simulator_install()
