"""`import TorchDevice`: the names that the pure-Python predecessor documented, answered by torchdevice and torch.

One file, as a folder of this name would be the folder torchdevice/ on a disk that ignores case. Its submodules are made
here and put into sys.modules. Each name answers truthfully or raises one error; none is an empty shell.
PYTEST_DONT_REWRITE: it may be imported before pytest is.
"""

from __future__ import annotations

import contextvars
import difflib
import functools
import logging
import reprlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    import torch

warnings.warn(
    "TorchDevice is the old name of torchdevice, which needs no import: `import torch` makes device 'cuda' work. "
    "Remove `import TorchDevice`; what else it offered is in torch and in `import torchdevice`",
    DeprecationWarning,
    stacklevel=2,
)

import torchdevice_ext  # noqa: E402, F401  activates
from torchdevice import __version__, activate, gpu, settings, status  # noqa: E402

__all__ = ["TorchDevice", "__version__", "auto_log", "get_device"]

#: Makes it a package to `import TorchDevice.core`.
__path__: list[str] = []

_Function = TypeVar("_Function", bound=Callable[..., Any])

_log = logging.getLogger("torchdevice")
_quiet = contextvars.ContextVar("_quiet", default=False)


@overload
def auto_log(function: _Function) -> _Function: ...
@overload
def auto_log() -> Callable[[_Function], _Function]: ...
def auto_log(function: Any = None) -> Any:
    """A decorator that logs each call with arguments and result, at INFO; `@auto_log` and `@auto_log()` are the same.

    What such a function calls is not logged again.
    """
    if function is None:
        return auto_log

    @functools.wraps(function)
    def logged(*args: Any, **kwargs: Any) -> Any:
        if _quiet.get() or not _log.isEnabledFor(logging.INFO):
            return function(*args, **kwargs)
        with _device_operation_context():
            result = function(*args, **kwargs)
        given = [*map(_describe, args), *(f"{name}={_describe(value)}" for name, value in kwargs.items())]
        _log.info("called %s(%s): %s", function.__qualname__, ", ".join(given), _describe(result), stacklevel=2)
        return result

    return logged


def get_device(requested: str | torch.device | None = None) -> torch.device:
    """The device that was asked for; without a wish the accelerator, or the CPU where there is none or it is meant."""
    import torch

    if requested is not None:
        return torch.device(requested)
    accelerator = None if _is_cpu_override_active() else torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")


class TorchDevice:
    """Of release 0.0.5: constructing one gives a torch.device, the default one if none is named."""

    def __new__(cls, device_type: str | None = None, device_index: int | None = None) -> torch.device:  # type: ignore[misc]
        named = device_type is not None and device_index is not None
        return get_device(f"{device_type}:{device_index}" if named else device_type)


class _DeviceManager:
    @staticmethod
    def get_default_device() -> torch.device:
        return get_device()

    @staticmethod
    def cpu_override() -> bool:
        return _is_cpu_override_active()

    @staticmethod
    def torch_device_replacement(*args: Any, **kwargs: Any) -> torch.device:
        """A torch.device as the policy has it; the default one if none is named."""
        import torch

        return torch.device(*args, **kwargs) if args or kwargs else get_device()


def _get_current_device_type() -> str:
    return get_device().type


def _is_cpu_override_active() -> bool:
    """Whether "cpu:-1", or torchdevice.cpu_override(), has everything on the CPU now."""
    from torchdevice import policy

    return policy.is_cpu_override_active()


def _is_pytorch_compiled_with_cuda() -> bool:
    """Whether torch itself was built for NVIDIA GPUs."""
    import torch

    if not status().active:
        return torch.version.cuda is not None
    from torchdevice import _C

    return _C.torch_is_cuda_build()


def _is_native_cuda_available() -> bool:
    """Whether this torch could use an NVIDIA GPU of this machine."""
    import torch

    if not status().active:
        return torch.cuda.is_available()
    return _is_pytorch_compiled_with_cuda() and gpu.driver_has_gpu()


def _is_native_mps_built() -> bool:
    import torch

    return torch.backends.mps.is_built()


def _is_mps_available() -> bool:
    import torch

    return torch.backends.mps.is_available()


def _is_cuda_effectively_available() -> bool:
    import torch

    return torch.cuda.is_available()


def _activate() -> None:
    activate()


def _tensor_creation_wrapper(function: _Function) -> _Function:
    """The function itself: nothing needs to be wrapped."""
    return function


def _log_message(message: str, function: str = "", stacklevel: int = 1) -> None:
    _log.info("%s", f"{function}: {message}" if function else message, stacklevel=stacklevel + 1)


def _log_info(message: str, *args: object) -> None:
    _log.info(message, *args, stacklevel=2)


def _log_warning(message: str, *args: object) -> None:
    _log.warning(message, *args, stacklevel=2)


def _log_error(message: str, *args: object) -> None:
    _log.error(message, *args, stacklevel=2)


@contextmanager
def _device_operation_context() -> Iterator[None]:
    """Within it, functions with `auto_log` log nothing."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def _describe(value: object) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        return f"Tensor({list(value.shape)}, {value.dtype}, {value.device})"
    return reprlib.repr(value)


def _get_memory_stats(device: Any = None) -> dict[str, Any]:
    import torch

    return torch.cuda.memory_stats(device)


def _track_usage(device: Any = None) -> dict[str, int]:
    """Bytes of a device's memory: now, and the most until now."""
    import torch

    names = ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved")
    return {name: getattr(torch.cuda, name)(device) for name in names}


def _get_current_stream(device: Any = None) -> Any:
    import torch

    return torch.cuda.current_stream(device)


_MEMORY: dict[str, Any] = {"track_usage": _track_usage, "get_memory_stats": _get_memory_stats}
_QUERIES: dict[str, Any] = {
    "is_cuda_effectively_available": _is_cuda_effectively_available,
    "is_mps_effectively_available": _is_mps_available,
    "get_current_device_type": _get_current_device_type,
    "is_cpu_override_active": _is_cpu_override_active,
}
#: What `import TorchDevice` has.
_PUBLIC = ["TorchDevice", "auto_log", "get_device", "core", "ops", "utils"]
#: The submodules, parents first: names of ours, and the modules of torch that have the others.
_TREE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "core": ({}, ()),
    "core.device": ({"DeviceManager": _DeviceManager, "get_default_device": _DeviceManager.get_default_device}, ()),
    "core.hardware_info": (
        {
            "is_pytorch_compiled_with_cuda": _is_pytorch_compiled_with_cuda,
            "is_native_cuda_available": _is_native_cuda_available,
            "is_native_cuda_built": _is_pytorch_compiled_with_cuda,
            "is_native_mps_available": _is_mps_available,
            "is_native_mps_built": _is_native_mps_built,
        },
        (),
    ),
    "core.logger": (
        {
            "log_message": _log_message,
            "log_info": _log_info,
            "log_warning": _log_warning,
            "log_error": _log_error,
            "auto_log": auto_log,
            "device_operation_context": _device_operation_context,
        },
        (),
    ),
    "core.patch": (
        {
            "ensure_patched": _activate,
            "apply_patches": _activate,
            "tensor_creation_wrapper": _tensor_creation_wrapper,
        },
        (),
    ),
    "utils": (_QUERIES, ()),
    "utils.device_utils": (_QUERIES, ()),
    "utils.compile": ({}, ("torch.compiler",)),
    "utils.profiling": ({}, ("torch.profiler",)),
    "utils.type_utils": ({}, ("torch",)),
    "ops": ({}, ()),
    "ops.memory": (_MEMORY, ("torch.cuda.memory",)),
    "ops.memory.stats": (_MEMORY, ("torch.cuda.memory",)),
    "ops.streams": ({"get_current_stream": _get_current_stream}, ("torch.cuda",)),
    "ops.events": ({}, ("torch.cuda",)),
    "ops.random": ({}, ("torch.random", "torch")),
    "ops.autograd": ({}, ("torch.autograd",)),
    "ops.optim": ({}, ("torch.optim",)),
    "ops.optim.lr_scheduler": ({}, ("torch.optim.lr_scheduler",)),
    "ops.nn": ({}, ("torch.nn",)),
    "ops.nn.layers": ({}, ("torch.nn",)),
    "ops.nn.attention": ({}, ("torch.nn.attention", "torch.nn", "torch.nn.functional")),
    "ops.nn.init": ({}, ("torch.nn.init",)),
}


class _Module(ModuleType):
    """A submodule: names of ours, then torch's own."""

    def __init__(self, name: str, names: dict[str, Any], sources: tuple[str, ...]) -> None:
        super().__init__(name, "One of the predecessor's modules.")
        self.__spec__ = ModuleSpec(name, None, origin=__file__, is_package=True)
        self.__path__: list[str] = []
        self.__dict__.update(names)
        self._sources = sources
        self.__all__ = list(names)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            for source in self._sources:
                module = import_module(source)
                if hasattr(module, name):
                    return getattr(module, name)
        raise _missing(self.__name__, name)

    def __dir__(self) -> list[str]:
        names = {name for source in self._sources for name in dir(import_module(source)) if not name.startswith("_")}
        return sorted(names.union(super().__dir__()))


def __getattr__(name: str) -> Any:
    raise _missing(__name__, name)


def _missing(module: str, name: str) -> AttributeError:
    return AttributeError(f"module '{module}' has no attribute '{name}'{_hint(module, name)}")


def _hint(module: str, name: str) -> str:
    """The nearest name there, or where else a name of ours is."""
    if name.startswith("_"):
        return ""
    places = {place: sys.modules[place] for place in (__name__, *(f"{__name__}.{one}" for one in _TREE))}
    known = [one for one in dir(places[module]) if not one.startswith("_")] if module != __name__ else _PUBLIC
    if near := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean '{near[0]}'?"
    own = {one: place for place in places for one in (_PUBLIC if place == __name__ else vars(places[place])["__all__"])}
    if near := difflib.get_close_matches(name, own, n=1):
        return f"; did you mean '{near[0]}' of {own[near[0]]}?"
    return f"; it has {', '.join(known)}" if len(known) < 10 else ""


class _NameFinder(MetaPathFinder):
    """Asked for submodules that there are not, after all other finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent, _, name = fullname.rpartition(".")
        if parent == __name__ or parent.removeprefix(f"{__name__}.") in _TREE:
            # Without the `name` of the error, which `from … import …` would take for a reason to say less.
            raise ModuleNotFoundError(f"there is no '{name}' in {parent}{_hint(parent, name)}")
        return None


def _make_submodules() -> None:
    for name, (names, sources) in _TREE.items():
        module = _Module(f"{__name__}.{name}", names, sources)
        sys.modules[module.__name__] = module
        parent, _, last = module.__name__.rpartition(".")
        setattr(sys.modules[parent], last, module)
    # Imported again, it leaves one finder.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != __name__]
    sys.meta_path.append(_NameFinder())


_make_submodules()


def _listen() -> None:
    """Only the predecessor's programs know of "cpu:-1", and they import this."""
    if settings.read("TORCHDEVICE") != "0":
        from torchdevice import policy

        policy.listen()


_listen()
