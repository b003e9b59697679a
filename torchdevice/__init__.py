"""CUDA programs on machines without an NVIDIA GPU: device "cuda" over Apple's MPS or the CPU.

Installing the distribution is enough: `import torch` activates it (see torchdevice.activation).
"""

from torchdevice.activation import Status, activate, status

__all__ = ["Status", "__version__", "activate", "status"]

__version__ = "0.1.0"
