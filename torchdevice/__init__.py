"""CUDA programs on machines without an NVIDIA GPU: device "cuda" over Apple's MPS or the CPU.

Installing the distribution is enough: `import torch` activates it (see torchdevice.activation). PYTEST_DONT_REWRITE: it
may be imported before pytest is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchdevice.activation import Status, activate, status
    from torchdevice.policy import cpu_override, is_cpu_override_active, redirect
    from torchdevice.reports.operators import Operator, Report, Tally, report

__all__ = [
    "Operator",
    "Report",
    "Status",
    "Tally",
    "__version__",
    "activate",
    "cpu_override",
    "is_cpu_override_active",
    "redirect",
    "report",
    "status",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loaded by those who ask for it: this module is part of every `import torch`, and of every run of pytest."""
    if name == "_C":
        import torch

        from torchdevice import engine

        return engine.load(str(torch.__version__))
    if name in ("Status", "activate", "status"):
        from torchdevice import activation

        return getattr(activation, name)
    if name in ("Operator", "Report", "Tally", "report"):
        from torchdevice.reports import operators

        return getattr(operators, name)
    if name in ("cpu_override", "is_cpu_override_active", "redirect"):
        from torchdevice import policy

        return getattr(policy, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
