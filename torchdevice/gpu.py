"""Whether an NVIDIA GPU works here, asked so that processes forked later can still use it.

torch.cuda.device_count() is not asked: where NVIDIA's management library is missing it initialises CUDA, and a forked
child of a process that has done so can use no GPU any more.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import warnings

#: Status 0 if the driver knows a GPU. The driver is initialised in a process of its own.
_ASK_DRIVER = """
import ctypes, sys
driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
sys.exit(0 if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0 else 1)
"""
#: A driver that does not answer by then drives no GPU.
_SECONDS = 30


def gpu_works() -> bool:
    """Whether this torch has CUDA and the driver a GPU that CUDA_VISIBLE_DEVICES does not hide.

    The management library knows without initialising anything. Without it (WSL, Jetson, containers), or where it does
    not work, the driver is asked.
    """
    import torch

    if torch.version.cuda is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Can't initialize NVML": then there is the driver to ask
        count: int = torch.cuda._device_count_nvml()
    return count > 0 if count >= 0 else driver_has_gpu()


def driver_has_gpu() -> bool:
    """Whether the driver knows a GPU, whatever torch is."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    try:
        answer = subprocess.run([sys.executable, "-S", "-E", "-c", _ASK_DRIVER], capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0
