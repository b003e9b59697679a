"""Importing this module makes device "cuda" work, whether torch was imported before or not.

Only needed where torch does not load its `torch.backends` entry points, e.g. under TORCH_DEVICE_BACKEND_AUTOLOAD=0.
Importing it again, or after torch activated torchdevice by itself, changes nothing. PYTEST_DONT_REWRITE: it may be
imported before pytest is.

Raises:
    ImportError: a backward pass has already run, so autograd can no longer learn of another device; or a program that
        set TORCHDEVICE=1 has already used an NVIDIA GPU.
"""

from torchdevice.activation import LateActivationError, activate

try:
    activate()
except LateActivationError as error:
    raise ImportError(str(error)) from None
