"""What happens over the simulated MPS while a test runs."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

from torchdevice import _C


class Counted:
    """What happened in a `with` block: waits, transitions, bytes copied, and the calls of operators by side."""

    def __enter__(self) -> Counted:
        self.before = _C.fallback_counts()
        return self

    def __exit__(self, *_: object) -> None:
        self.after = _C.fallback_counts()

    def __getitem__(self, name: str) -> int:
        return self.after[name] - self.before[name]

    def calls(self, operator: str) -> tuple[int, int]:
        """Native and fallen back."""
        native, host = self.after["operators"].get(operator, (0, 0))
        native_before, host_before = self.before["operators"].get(operator, (0, 0))
        return native - native_before, host - host_before


def simulated(count: str) -> int:
    """One of the simulator's counters."""
    function = getattr(ctypes.CDLL(os.environ["MPS_SIMULATOR"]), f"mps_simulator_{count}")
    function.restype = ctypes.c_uint64
    return function()


def set_switch(name: str, on: bool) -> None:
    """One of the simulator's switches."""
    getattr(ctypes.CDLL(os.environ["MPS_SIMULATOR"]), f"mps_simulator_{name}")(ctypes.c_bool(on))


@contextlib.contextmanager
def erring() -> Iterator[None]:
    """The simulated MPS computes wrong what the real one is known to."""
    set_switch("err", True)
    try:
        yield
    finally:
        set_switch("err", False)
