"""The migration log: which code asked for which device and what it got, once for each place in the program.

It goes through Python's logger "torchdevice". TORCHDEVICE_LOG_LEVEL and its kin start it when torchdevice is activated;
without them this module is not loaded and nothing is watched.
"""

from __future__ import annotations

import atexit
import json
import logging
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from torchdevice import _C, policy, settings
from torchdevice.patches import probes

_log = logging.getLogger("torchdevice")

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("text", "json", "classic")

#: Code of these is not the program's.
_OURS = ("torch", "torchdevice", "TorchDevice")

_lock = threading.Lock()
_told: set[tuple[str, int, str, Any]] = set()
_frames_to_dump = 0


def start() -> None:
    """Log as the environment says.

    Raises:
        ValueError: a setting has a value that does not exist, or its file cannot be written.
    """
    global _frames_to_dump
    level = _one_of("TORCHDEVICE_LOG_LEVEL", (settings.read("TORCHDEVICE_LOG_LEVEL") or "WARNING").upper(), LEVELS)
    form = _one_of("TORCHDEVICE_LOG_FORMAT", (settings.read("TORCHDEVICE_LOG_FORMAT") or "text").lower(), FORMATS)
    frames = settings.read("TORCHDEVICE_DUMP_STACK_FRAMES") or "0"
    if not frames.isdecimal():
        raise ValueError(f"TORCHDEVICE_DUMP_STACK_FRAMES must be 0 or more frames, but it is '{frames}'")
    _frames_to_dump = int(frames)
    handler = _handler()
    handler.setFormatter({"text": _Text, "json": _Json, "classic": _Classic}[form]())
    _log.addHandler(handler)
    _log.setLevel(level)
    if not _log.isEnabledFor(logging.INFO):
        return
    policy.observe(_tell_device)
    probes.install(_tell_probe, _tell_option)
    sys.addaudithook(_notice_program)
    atexit.register(_tell_fallbacks)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        *others, last = known
        raise ValueError(f"{name} must be {', '.join(others)} or {last}, but it is '{settings.read(name)}'")
    return value


def _handler() -> logging.Handler:
    path = settings.read("TORCHDEVICE_LOG")
    if path is None:
        return _Stderr()
    try:
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"TORCHDEVICE_LOG: cannot write to {path}: {error.strerror}") from None


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Silent where the program has logging set up: its own handlers get these records too."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def _called(record: logging.LogRecord) -> str:
    """What the program called; records of TorchDevice.core.logger have nothing but a message."""
    called: str = getattr(record, "called", "")
    return called


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        called = _called(record)
        where = f"{record.pathname}:{record.lineno} in {record.funcName}"
        lines = [f"{record.levelname} {record.name}: {where}: {called}{': ' if called else ''}{record.getMessage()}"]
        return "\n    ".join([*lines, *getattr(record, "frames", [])])


class _Classic(logging.Formatter):
    """The predecessor's line."""

    def format(self, record: logging.LogRecord) -> str:
        line = (
            f'GPU REDIRECT - [{_program()}] "{record.funcName}" in File: {record.pathname}:{record.lineno} - '
            f"Called: {_called(record) or record.funcName} {record.getMessage()}"
        )
        return "\n    ".join([line, *getattr(record, "frames", [])])


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        data = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created)),
            "level": record.levelname,
            "program": _program(),
            "file": record.pathname,
            "line": record.lineno,
            "caller": record.funcName,
            "message": record.getMessage(),
        }
        names = ("kind", "called", "asked", "given", "reason", "shapes", "frames")
        return json.dumps(data | {name: getattr(record, name) for name in names if hasattr(record, name)})


def _program() -> str:
    return Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"


def _tell_device(called: str, asked: Any, given: Any, reason: str | None) -> None:
    """A device that was asked for; what is no accelerator and not changed, only at DEBUG."""
    if isinstance(asked, torch.device) and _torch_asks():
        return  # for what the program asked it for
    given = given if isinstance(given, (str, torch.device)) else f"cuda:{given}"
    kind = str(given).partition(":")[0]
    level = logging.DEBUG if kind in ("cpu", "meta") and not reason else logging.INFO
    over = f" over {_C.native_backend_name()}" if kind == "cuda" else ""
    wish = "no device" if asked is None else json.dumps(asked if isinstance(asked, int) else str(asked))
    message = f"{wish} → {given}{over}" + (f" ({reason})" if reason else "")
    fields = {"asked": None if asked is None else str(asked), "given": str(given), "reason": reason}
    _tell(level, "device", called, message, fields)


def _tell_probe(called: str, args: tuple[Any, ...], answer: Any) -> None:
    if not _is_ours(sys._getframe(2)):  # which called it for itself
        _tell(logging.INFO, "probe", called, f"answered {_short(answer)}", {"given": _short(answer)})


def _tell_option(called: str, args: tuple[Any, ...], why: Any) -> None:
    """An option that is switched off, or set to what it is here anyway, differs from nothing."""
    if args and args[0] not in (False, 0, "highest"):
        _tell(logging.INFO, "option", called, f"{_short(args[0])} has no effect: {why}", {"reason": why})


def _notice_program(event: str, args: tuple[Any, ...]) -> None:
    """Python's audit hook: programs that are started."""
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec") and "nvidia-smi" in repr(args[:2]):
        import shutil

        found = shutil.which("nvidia-smi")
        reason = f"it is {found}" if found else "it is not there, as on a machine without NVIDIA's driver"
        _tell(logging.INFO, "probe", "nvidia-smi", reason, {"reason": reason})


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _tell_fallbacks() -> None:
    """At exit: the operators that ran on the CPU although it is not the native backend."""
    if _C.native_backend_name() == "cpu":
        return
    for name, _, (calls, _, _, site), reason in _C.operator_tallies():
        if calls:
            file, _, line = site.rpartition(":")
            times = "once" if calls == 1 else f"{calls:,} times"
            message = f"fell back to the CPU {times}: {reason}"
            _emit(logging.INFO, file or "?", int(line or 0), "?", message, kind="fallback", called=name, reason=reason)


def _tell(level: int, kind: str, called: str, message: str, fields: dict[str, Any]) -> None:
    if not _log.isEnabledFor(level):
        return
    frame = _programs_frame()
    if frame is None:
        return
    file, line = frame.f_code.co_filename, frame.f_lineno
    with _lock:
        place = (file, line, called, fields.get("asked"))
        if place in _told:
            return
        _told.add(place)
    if _log.isEnabledFor(logging.DEBUG):
        if shapes := _shapes(frame):
            message, fields = f"{message} of {', '.join(map(str, shapes))}", {**fields, "shapes": shapes}
        if _frames_to_dump:
            fields = {**fields, "frames": _stack(frame)}
    _emit(level, file, line, frame.f_code.co_name, message, kind=kind, called=called, **fields)


def _emit(level: int, file: str, line: int, caller: str, message: str, **fields: Any) -> None:
    _log.handle(_log.makeRecord(_log.name, level, file, line, message, (), None, caller, fields))


def _programs_frame() -> FrameType | None:
    """The innermost outside of torch and of torchdevice."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (_is_ours(frame) or frame.f_globals.get("__name__") in ("subprocess", "os")):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__") or ""
    return name.partition(".")[0] in _OURS or frame.f_code.co_filename.startswith("<eval_with_key>")


def _torch_asks() -> bool:
    """Whether code of torch's own called what the log was told of."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (frame.f_globals.get("__name__") or "").startswith("torchdevice."):
        frame = frame.f_back
    return frame is not None and _is_ours(frame)


def _shapes(outer: FrameType) -> list[list[int]]:
    """Of the tensors that the program gave to what it called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not outer:
        frame = frame.f_back
    if frame is None:
        return []
    given = (frame.f_locals.get("self"), *frame.f_locals.get("args", ()))
    return [list(value.shape) for value in given if isinstance(value, torch.Tensor)]


def _stack(frame: FrameType | None) -> list[str]:
    frames: list[str] = []
    while frame is not None and len(frames) < _frames_to_dump:
        frames.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
        frame = frame.f_back
    return frames
