"""Turns torchdevice on, once, or says why not.

At the end of `import torch` torch calls torchdevice_autoload.py (entry point group `torch.backends`), which calls
`autoload`; `import torchdevice_ext` calls `activate`. Both do the same work, at most once in a process.
"""

from __future__ import annotations

import atexit
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from torchdevice import settings
from torchdevice.gpu import gpu_works


class LateActivationError(RuntimeError):
    """Activation came after the first backward pass of the process, or after CUDA was initialised on a GPU."""


class Status(NamedTuple):
    """Whether torchdevice is active in this process, and why (not)."""

    active: bool
    reason: str


class _UnavailableError(Exception):
    """torchdevice cannot work here; the message says why and what to do. Becomes one warning line."""


NOT_ACTIVE = "torchdevice is not active: "

_lock = threading.RLock()
_names_are_checked = False
_waiting: list[Callable[[], None]] = []
_status = Status(False, "torch has not been imported yet, or TORCH_DEVICE_BACKEND_AUTOLOAD=0 kept torchdevice out")


def status() -> Status:
    """The state of this process; never activates anything."""
    return _status


def autoload() -> None:
    """For torch's entry point: activate, and never break `import torch`, whatever is raised, SystemExit included."""
    global _status
    try:
        activate()
    except Warning as warning:  # the program's filters make errors of warnings; the entry point prints it
        _status = Status(False, str(warning).removeprefix(NOT_ACTIVE))
        raise
    except BaseException as error:
        _give_up(f"activation failed: {type(error).__name__}: {error}", stacklevel=4)


def activate() -> Status:
    """Make device "cuda" work, unless it does already, is switched off, or cannot work here.

    Thread-safe and idempotent. A torch that does not match gives one warning and no activation.

    Raises:
        LateActivationError: the autograd engine has already started its threads, one per device; it would never
            serve another device. Or an NVIDIA GPU is in use already.
    """
    global _status
    # Before the lock is taken: importing torch may activate us through the entry point, in this thread or another.
    if settings.read("TORCHDEVICE") != "0":
        import torch  # noqa: F401
    with _lock:
        if _status.active:
            return _status
        reason = _reason_to_stay_out()
        if reason is not None:
            _status = Status(False, reason)
            return _status
        _warn_of_unknown_settings()
        try:
            _install()
        except _UnavailableError as error:
            return _give_up(str(error))
        _status = Status(True, "no NVIDIA GPU works here")
        for begin in _waiting:
            begin()
        return _status


def when_active(begin: Callable[[], None]) -> None:
    """Have `begin` called at the end of the activation, for what must see all that a program does afterwards."""
    _waiting.append(begin)


def _give_up(reason: str, stacklevel: int = 3) -> Status:
    global _status
    _status = Status(False, reason)
    warnings.warn(f"{NOT_ACTIVE}{reason}", RuntimeWarning, stacklevel=stacklevel)
    return _status


def _warn_of_unknown_settings() -> None:
    """One warning for each name that is misspelt, once in a process."""
    global _names_are_checked
    if _names_are_checked:
        return
    _names_are_checked = True
    for name in settings.present():
        mistake = settings.mistake(name)
        if mistake is not None:
            warnings.warn(f"torchdevice: {name} is {mistake}", RuntimeWarning, stacklevel=3)


def _reason_to_stay_out() -> str | None:
    """Why "cuda" needs no help from us; TORCHDEVICE=1 overrides what the machine says."""
    switch = settings.read("TORCHDEVICE")
    if switch == "0":
        return "switched off by TORCHDEVICE=0"
    if switch != "1" and gpu_works():
        return "a real NVIDIA GPU works here"
    return None


def _install() -> None:
    import torch

    if torch.version.hip is not None:
        public = torch.__version__.split("+")[0]
        raise _UnavailableError(
            f"this torch is a ROCm build ({torch.__version__}), for AMD's GPUs; install a CPU or a CUDA build, such as "
            f"pip install torch=={public}"
        )
    try:
        from torchdevice import _C
    except ImportError as error:
        raise _UnavailableError(str(error)) from error
    if _C.backward_has_run():
        raise LateActivationError(
            "torchdevice cannot be activated after a backward pass: autograd has already started its device threads "
            "and would never serve cuda. Import torchdevice_ext before the first backward(), or install "
            "torchdevice-ext so that `import torch` activates it."
        )
    cuda: Any = torch.cuda  # its functions have no types
    if cuda.is_initialized():
        raise LateActivationError(
            "torchdevice cannot be activated after CUDA was initialised: tensors and streams of an NVIDIA GPU may "
            "exist, which nothing here could use. Import torchdevice_ext before the first use of cuda."
        )
    from torchdevice import patches  # like the extension, only with a torch that matches

    _C.activate()
    try:
        patches.apply()
        try:
            _start_what_is_asked_for()
        except BaseException:
            patches.undo()
            raise
    except BaseException:
        _C.deactivate()
        raise
    _C.activate_for_good()
    atexit.register(_C.settle_backward)


def _start_what_is_asked_for() -> None:
    """The redirect policy, the log and the checkers, of which nothing is loaded otherwise."""
    if settings.read("TORCH_ALLOW_REDIRECTS") is not None:
        from torchdevice import policy

        policy.obey_environment()
    if any(settings.read(name) is not None for name in settings.LOG):
        from torchdevice.reports import log

        log.start()
    if settings.read("TORCHDEVICE_CHECK") is not None:
        from torchdevice.check import session

        session.start()
