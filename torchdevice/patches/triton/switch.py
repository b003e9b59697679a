"""The switch: Triton's own interpreter runs kernels, on copies of their tensors.

Triton decides this when a kernel is decorated, by a setting that TRITON_INTERPRET=1 makes too. What programs ask of
Triton's driver, torch.cuda answers.
"""

from __future__ import annotations

import functools
import os
import sys
from types import ModuleType
from typing import Any, NoReturn

import torch

from torchdevice.patches.change import Undo, all_of, set_all, unchanged, when_imported
from torchdevice.patches.warn import warn_once

_INTERPRETED = (
    "Triton: there is no NVIDIA GPU to compile kernels for; torchdevice has Triton's interpreter run them, slowly: it "
    "serves to test kernels. Set TRITON_INTERPRET=1 yourself to silence this."
)

_NOT_COMPILED = (
    "Triton compiles kernels for an NVIDIA GPU, but device cuda is torchdevice's here. Its interpreter can run this "
    "kernel: import torch before triton, and do not set TRITON_INTERPRET=0."
)


def interpret(knobs: ModuleType) -> Undo:
    """Switch Triton's interpreter on in `triton.knobs`, unless the environment has decided; returns the undo."""
    if "TRITON_INTERPRET" in os.environ:
        return unchanged
    settings = vars(knobs.runtime)
    settings["interpret"] = True  # an assignment would set the environment variable too, which child processes inherit
    take_back = when_imported("triton.runtime.interpreter", _wrap_launches)

    def restore() -> None:
        take_back()
        settings.pop("interpret", None)

    return restore


def _wrap_launches(interpreter: ModuleType) -> Undo:
    """Let the first launch of an interpreted kernel warn."""
    executor = interpreter.GridExecutor
    launch = executor.__call__

    @functools.wraps(launch)
    def warn_and_launch(*args: Any, **kwargs: Any) -> Any:
        warn_once(_INTERPRETED, stacklevel=4)
        return launch(*args, **kwargs)

    executor.__call__ = warn_and_launch
    _keep_dynamo_out()

    def restore() -> None:
        executor.__call__ = launch

    return restore


def break_graphs(_dynamo: ModuleType) -> Undo:
    """Let torch._dynamo run launches of interpreted kernels as they are: it would trace the interpreter. The undo is
    that of the launches."""
    _keep_dynamo_out()
    return unchanged


def _keep_dynamo_out() -> None:
    """As soon as both are there: dynamo imports Triton, and a program may import either first."""
    dynamo: Any = sys.modules.get("torch._dynamo")
    interpreter: Any = sys.modules.get("triton.runtime.interpreter")
    if hasattr(dynamo, "disable") and hasattr(interpreter, "GridExecutor"):
        executor = interpreter.GridExecutor
        executor.__call__ = dynamo.disable(executor.__call__, reason="Triton's interpreter runs this kernel")


def repair(interpreter: ModuleType) -> Undo:
    """Let `triton.runtime.interpreter` compute what a GPU computes; returns the undo."""
    from torchdevice.patches.triton import builder  # with NumPy, which `import torch` does without

    return builder.repair(interpreter)


def serve_libdevice() -> Undo:
    """Let NVIDIA's libdevice work in interpreted kernels; returns the undo."""

    def receive_builder(module: ModuleType) -> Undo:
        from torchdevice.patches.triton import libdevice

        return libdevice.receive_builder(module)

    modules = ("triton.language.extra.libdevice", "triton.language.extra.cuda.libdevice")
    return all_of(*(when_imported(module, receive_builder) for module in modules))


def answer_for_driver(driver: ModuleType) -> Undo:
    """Let `triton.runtime.driver` make its driver without NVIDIA's library; returns the undo."""
    create = driver._create_driver

    def create_ours() -> Any:
        return create() if "TRITON_DEFAULT_BACKEND" in os.environ else _driver()

    return set_all(driver, {"_create_driver": create_ours})


def keep_kernels_out(common_utils: ModuleType) -> Undo:
    """Let `torch._native.common_utils` say that kernels in Triton or CuTe are not to be used; returns the undo."""
    return set_all(common_utils, {"check_native_jit_disabled": lambda: True})


def _driver() -> Any:
    from triton.backends.driver import GPUDriver
    from triton.backends.nvidia.driver import CudaDriver

    class Driver(CudaDriver):  # type: ignore[misc]
        """Triton's driver for NVIDIA GPUs, but for what it asks of the GPU."""

        def __init__(self) -> None:
            GPUDriver.__init__(self)
            self.utils = _Utilities()
            self.launcher_cls = _refuse_compiled

    return Driver()


class _Utilities:
    """In place of the library that Triton compiles against NVIDIA's."""

    @staticmethod
    def get_device_properties(device: int) -> dict[str, int]:
        properties: Any = torch.cuda.get_device_properties(device)
        return {
            "max_shared_mem": properties.shared_memory_per_block_optin,
            "max_num_regs": properties.regs_per_multiprocessor,
            "multiprocessor_count": properties.multi_processor_count,
            "warpSize": properties.warp_size,
            "sm_clock_rate": properties.clock_rate,
            "mem_clock_rate": properties.memory_clock_rate,
            "mem_bus_width": properties.memory_bus_width,
        }

    @staticmethod
    def load_binary(*_: object) -> NoReturn:
        _refuse_compiled()


def _refuse_compiled(*_: object) -> NoReturn:
    raise RuntimeError(_NOT_COMPILED)
