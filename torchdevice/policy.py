"""The redirect policy: what "cpu", "mps" and no device at all mean. Off, until somebody asks for it.

The names of devices are as torch has them unless `redirect()` or TORCH_ALLOW_REDIRECTS says otherwise: then "cpu" and
no device mean the accelerator. Under the CPU override everything means the CPU. `import TorchDevice` asks for "cpu:-1",
which switches the override. The policy is the process's: all threads see it.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from torchdevice import settings
from torchdevice.patches import redirect as carriers


@dataclass(eq=False)
class _Scope:
    """What holds in a `with` statement, or outside of them all."""

    redirects: bool = False
    overrides: bool = False


#: Told what was called, what was asked for and given, and why that differs.
Observer = Callable[[str, Any, Any, "str | None"], None]

#: What the CPU override makes the CPU.
_OVERRIDDEN = ("cpu", "cuda", "mps", "xpu")

_lock = threading.RLock()
#: The innermost last. Threads may leave theirs in any order.
_scopes = [_Scope()]
_listens = False
_observer: Observer | None = None


def _nobody() -> None:
    return None


#: The module of torch.nn that "cpu:-1" came from last.
_handed_on_by: Callable[[], torch.nn.Module | None] = _nobody

# Of the innermost scope, as plain names: torch.compile guards compiled code by them.
_redirects = False
_overrides = False
_accelerator = "cuda"
_has_mps = False


class redirect:  # noqa: N801, it reads as the function that it also is
    """Let "cpu" and no device mean the accelerator, from now on or within a `with` statement.

    `redirect(False)` ends it. "mps" is the accelerator too where there is no MPS.

    Raises:
        RuntimeError: torch has no accelerator here.
    """

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._scope: _Scope | None = None
        with _lock:
            scope = _scopes[-1]
            self._before = scope.redirects
            _change(scope, redirects=enabled)

    def __enter__(self) -> None:
        with _lock:
            outer = _scopes[-1]
            self._scope = _Scope(self._enabled, outer.overrides)
            _scopes.append(self._scope)
            _change(outer, redirects=self._before)

    def __exit__(self, *error: object) -> None:
        assert self._scope is not None
        _leave(self._scope)


@contextmanager
def cpu_override() -> Iterator[None]:
    """Within it, whatever asks for the CPU or for an accelerator gets the CPU."""
    with _lock:
        scope = _Scope(_scopes[-1].redirects, overrides=True)
        _scopes.append(scope)
        _settle()
    try:
        yield
    finally:
        _leave(scope)


def is_cpu_override_active() -> bool:
    """Whether everything means the CPU now, by `cpu_override()` or by "cpu:-1"."""
    return _overrides


def listen() -> None:
    """Understand "cpu:-1" from now on, whatever the policy is."""
    global _listens
    with _lock:
        _listens = True
        _settle()


def observe(observer: Observer) -> None:
    """Tell of each device that the program asks for, from now on."""
    global _observer
    with _lock:
        _observer = observer
        _settle()


def obey_environment() -> None:
    """Redirect if TORCH_ALLOW_REDIRECTS says so."""
    text = settings.read("TORCH_ALLOW_REDIRECTS") or "false"
    if text.lower() not in ("true", "1", "false", "0"):
        raise ValueError(f"TORCH_ALLOW_REDIRECTS must be true or false, but it is '{text}'")
    if text.lower() in ("true", "1"):
        redirect()


def _leave(scope: _Scope) -> None:
    with _lock:
        _scopes.remove(scope)
        _settle()


def _change(scope: _Scope, **values: bool) -> None:
    before = dict(vars(scope))
    vars(scope).update(values)
    try:
        _settle()
    except BaseException:
        vars(scope).update(before)
        raise


def _settle() -> None:
    """Install what the scopes need, and take back what none needs."""
    global _redirects, _overrides, _accelerator, _has_mps
    if any(scope.redirects for scope in _scopes):
        _accelerator, _has_mps = _find_accelerator(), torch.backends.mps.is_available()
    changed = (_redirects, _overrides) != (_scopes[-1].redirects, _scopes[-1].overrides)
    _redirects, _overrides = _scopes[-1].redirects, _scopes[-1].overrides
    if _listens or _observer is not None or any(scope.redirects or scope.overrides for scope in _scopes):
        carriers.install(_given)
    else:
        carriers.take_back()
    if changed:
        carriers.forget_compiled()


def _find_accelerator() -> str:
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        raise RuntimeError(
            "torchdevice.redirect() found no accelerator that 'cpu' could mean: torch has none here, and torchdevice "
            "is not active. `python -m torchdevice info` says why"
        )
    return device.type


def _given(asked: Any, called: str) -> Any:
    """What is given for what was asked for; None is nothing."""
    given = _meant(asked)
    if _observer is not None and given is not None and not torch.compiler.is_compiling():
        reason = None
        if asked == "cpu:-1":
            reason = f"CPU override {'on' if _overrides else 'off'}"
        elif given is not asked:
            reason = "CPU override" if _overrides else "redirect policy"
        _observer(called, asked, given, reason)
    return given


def _meant(asked: Any) -> Any:
    if asked is None:
        return "cpu" if _overrides else _accelerator if _redirects else None
    if isinstance(asked, str):
        return _given_for_name(asked)
    if not _overrides:
        return asked  # a torch.device was decided upon when it was made
    if isinstance(asked, torch.device):
        return "cpu" if asked.type in _OVERRIDDEN else asked
    return "cpu" if isinstance(asked, int) else asked


def _given_for_name(asked: str) -> str:
    if asked == "cpu:-1":
        _switch_override()
        return "cpu"
    kind, colon, index = asked.partition(":")
    if colon and not index.isdecimal():
        return asked  # torch says what is wrong with it
    if _overrides:
        return "cpu" if kind in _OVERRIDDEN else asked
    if _redirects and ((kind == "cpu" and index in ("", "0")) or (kind == "mps" and not _has_mps)):
        return _accelerator + colon + index
    return asked


def _switch_override() -> None:
    if torch.compiler.is_compiling():
        raise RuntimeError(
            "torchdevice: 'cpu:-1' changes what devices mean, which compiled code cannot do. Ask for it before the "
            "compiled function is called, or call that within torchdevice.cpu_override()"
        )
    global _handed_on_by
    with _lock:
        asker = _module_that_asks()
        if asker is not None and asker is _handed_on_by():
            return  # for its next parameter
        scope = _scopes[-1]
        _change(scope, overrides=not scope.overrides)
        _handed_on_by = weakref.ref(asker) if asker is not None else _nobody


def _module_that_asks() -> torch.nn.Module | None:
    """The module of torch.nn that is being made and hands on, parameter by parameter, what it was asked for once."""
    frame: FrameType | None = sys._getframe(1)
    asker = None
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("torch.", "torchdevice.")):
        asker = frame.f_locals.get("self", asker)
        frame = frame.f_back
    return asker if isinstance(asker, torch.nn.Module) else None


def _after_fork() -> None:
    """A child that cannot use the accelerator, as after work on it in the parent, has the CPU."""
    global _redirects
    if torch.cuda._is_in_bad_fork():
        _redirects = False


os.register_at_fork(after_in_child=_after_fork)
