"""CUDA programs on machines without an NVIDIA GPU: device "cuda" over Apple's MPS or the CPU.

Installing the distribution is enough: `import torch` activates it (see torchdevice.activation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchdevice.activation import Status, activate, status

if TYPE_CHECKING:
    from torchdevice.reports.operators import Operator, Report, Tally, report

__all__ = ["Operator", "Report", "Status", "Tally", "__version__", "activate", "report", "status"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The report is loaded by those who ask for it: this module is part of every `import torch`."""
    if name == "_C":
        import torch

        from torchdevice import engine

        return engine.load(str(torch.__version__))
    if name in ("Operator", "Report", "Tally", "report"):
        from torchdevice.reports import operators

        return getattr(operators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
