"""A plug-in for pytest: TORCHDEVICE_TEST_DEFAULT is torch's default device in the tests of a library."""

from __future__ import annotations

import os

import torch

if device := os.environ.get("TORCHDEVICE_TEST_DEFAULT"):
    torch.set_default_device(device)
