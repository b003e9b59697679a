"""Every place where Python code names a device to torch, so that what was asked for can be replaced.

torchdevice/policy.py decides what is given instead. It installs these changes when somebody asks for it, and takes them
back when nobody does any more. The table in patches/__init__.py lists them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import torch
from torch.jit import _builtins as script
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import _get_current_function_mode_stack
from torch.utils import _device

from torchdevice.patches.change import Undo, make_all, set_all, set_new

#: What is given for what was asked for (a string, a torch.device, an index, or something that names no device), and the
#: name of the function that was asked.
Decide = Callable[[Any, str], Any]
#: What a function with this name becomes.
Change = Callable[[Callable[..., Any], str], Callable[..., Any]]

#: Modules of torch that hand on the devices which they are given. The others mean what they say.
_HAND_ON = (
    "torch.nn.modules",
    "torch.nn.parameter",
    "torch.signal",
    "torch.nested",
    "torch.distributions",
    "torch.testing._creation",
    "torch._dynamo.utils",
    "torch._dynamo.variables.torch",
    "torch._dynamo.variables.user_defined",
    "torch.fx.interpreter",
)
#: Modules that make a torch.device anew which there was already.
_REMAKE = ("copy", "pickle", "multiprocessing")

#: What makes a tensor from nothing, as torch.set_default_device() knows it; by the module that has it.
_FACTORIES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (
        torch,
        (
            "arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "empty", "empty_permuted",
            "empty_quantized", "empty_strided", "eye", "full", "hamming_window", "hann_window", "kaiser_window",
            "linspace", "logspace", "ones", "rand", "randint", "randn", "randperm", "range", "scalar_tensor",
            "sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_compressed_tensor", "sparse_coo_tensor",
            "sparse_csc_tensor", "sparse_csr_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
        ),
    ),
    (torch.fft, ("fftfreq", "rfftfreq")),
    (torch.nested, ("nested_tensor",)),
)  # fmt: skip

#: What else takes a device: the owner, the names, the parameter, and its position where it may be positional.
_CARRIERS: tuple[tuple[Any, tuple[str, ...], str, int | None], ...] = (
    (
        torch,
        ("empty_like", "full_like", "ones_like", "rand_like", "randint_like", "randn_like", "zeros_like"),
        "device",
        None,
    ),
    (
        torch.Tensor,
        ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros"),
        "device",
        None,
    ),
    (torch.Tensor, ("to",), "device", 1),
    (torch.nn.Module, ("to",), "device", 1),
    (torch.nn.Module, ("to_empty",), "device", None),
    (PackedSequence, ("to",), "device", 1),
    (torch, ("load",), "map_location", 1),
    (torch.jit, ("load",), "map_location", 1),
    (torch, ("set_default_device",), "device", 0),
    (torch.autocast, ("__init__",), "device_type", 1),
    (torch.amp.GradScaler, ("__init__",), "device", 1),
)


_undo: Undo | None = None


def install(decide: Decide) -> None:
    """Have `decide` asked wherever a device is named, until `take_back`.

    Given None it says what is meant by nothing, and None again leaves that to torch.
    """
    global _undo
    if _undo is not None:
        return
    _device._device_constructors()  # torch keeps this set of its own functions from its first use on
    _undo = make_all(_changes(decide))


def _changes(decide: Decide) -> Iterator[Undo]:
    yield set_new(torch.device, lambda own: _deciding_new(own, decide))
    yield set_new(torch.Generator, lambda own: _handing_on("device", 1, decide)(own, "torch.Generator"))
    for owner, names in _FACTORIES:
        yield _replace(owner, names, _making(decide))
    for owner, names, parameter, position in _CARRIERS:
        yield _replace(owner, names, _handing_on(parameter, position, decide))
    yield _replace(torch.Tensor, ("cuda",), _to_cuda(decide))
    forget_compiled()


def take_back() -> None:
    """Leave torch as it was."""
    global _undo
    if _undo is not None:
        undo, _undo = _undo, None
        undo()
        forget_compiled()


def _replace(owner: Any, names: tuple[str, ...], change: Change) -> Undo:
    """Attributes by what `change` makes of them, which TorchScript takes for the same functions."""
    inherited = [name for name in names if name not in vars(owner)]
    functions = {name: getattr(owner, name) for name in names}
    place = owner.__name__ if isinstance(owner, ModuleType) else owner.__qualname__
    changed = {
        name: functools.wraps(own)(change(own, f"{place}.{name}".removesuffix(".__init__")))
        for name, own in functions.items()
    }
    table = script._get_builtin_table()  # type: ignore[no-untyped-call]
    known = {id(changed[name]): table[id(own)] for name, own in functions.items() if id(own) in table}
    table.update(known)
    restore = set_all(owner, changed)

    def take_back() -> None:
        restore()
        for name in inherited:
            delattr(owner, name)
        for key in known:
            del table[key]

    return take_back


def _means_what_it_says(frame: FrameType) -> bool:
    """Whether the calling code is torch's or ours, and speaks for itself."""
    name = frame.f_globals.get("__name__") or ""
    if name == "torch" or name.startswith(("torch.", "torchdevice.")):
        return not name.startswith(_HAND_ON)
    return name.partition(".")[0] in _REMAKE


def _is_compiled(frame: FrameType) -> bool:
    """Whether torch.compile or torch.fx wrote the calling code, which makes anew the devices that it found."""
    if frame.f_code.co_filename.startswith("<eval_with_key>"):
        return True
    convert = sys.modules.get("torch._dynamo.convert_frame")
    return convert is not None and frame.f_code in convert.output_codes


def _deciding_new(own: Callable[..., Any], decide: Decide) -> Callable[..., Any]:
    """torch.device(…), whose type and index may come apart."""

    def new(cls: type, /, *args: Any, **kwargs: Any) -> Any:
        frame = sys._getframe(1)
        if not (_means_what_it_says(frame) or _is_compiled(frame)):
            named = dict(zip(("type", "index"), args, strict=False)) | kwargs
            asked, index = named.get("type", named.get("device")), named.get("index")
            if isinstance(asked, str) and isinstance(index, int):
                asked, index = f"{asked}:{index}", None
            if asked is not None and index is None and (given := decide(asked, "torch.device")) is not asked:
                return own(cls, given)
        return own(cls, *args, **kwargs)

    return new


def _making(decide: Decide) -> Change:
    """A factory: where no device is named, the one that is meant by nothing."""

    def change(own: Callable[..., Any], name: str) -> Callable[..., Any]:
        def make(*args: Any, **kwargs: Any) -> Any:
            if not torch.compiler.is_compiling() and _means_what_it_says(sys._getframe(1)):
                return own(*args, **kwargs)
            asked, generator = kwargs.get("device"), kwargs.get("generator")
            if asked is None and (kwargs.get("out") is not None or _has_default()):
                return own(*args, **kwargs)
            given = generator.device if asked is None and generator is not None else decide(asked, name)
            # Pinned memory is the host's.
            if given is not None and not (kwargs.get("pin_memory") and torch.device(given).type != "cpu"):
                kwargs["device"] = given
            return own(*args, **kwargs)

        return make

    return change


def _has_default() -> bool:
    """Whether torch.set_default_device(), or `with torch.device(…)`, says what is meant by nothing."""
    if torch.compiler.is_compiling():
        return _device.CURRENT_DEVICE is not None
    modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return any(isinstance(mode, _device.DeviceContext) for mode in modes)


def _handing_on(parameter: str, position: int | None, decide: Decide) -> Change:
    """A function that does something else where no device is named."""

    def change(own: Callable[..., Any], name: str) -> Callable[..., Any]:
        def hand_on(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not _means_what_it_says(sys._getframe(1)):
                if kwargs.get(parameter) is not None:
                    kwargs[parameter] = _decide_all(kwargs[parameter], name, decide)
                elif position is not None and len(args) > position:
                    given = _decide_all(args[position], name, decide)
                    args = (*args[:position], given, *args[position + 1 :])
            return own(*args, **kwargs)

        return hand_on

    return change


def _decide_all(asked: Any, name: str, decide: Decide) -> Any:
    """A device, or the dictionary of them that torch.load() takes; anything else is no device."""
    if isinstance(asked, dict):
        return {saved: _decide_all(place, name, decide) for saved, place in asked.items()}
    return decide(asked, name) if isinstance(asked, (str, int, torch.device)) else asked


def _to_cuda(decide: Decide) -> Change:
    """Tensor.cuda(), which asks without a name."""

    def change(own: Callable[..., Any], name: str) -> Callable[..., Any]:
        def cuda(self: torch.Tensor, device: Any = None, *args: Any, **kwargs: Any) -> Any:
            given = decide("cuda" if device is None else device, name)
            if str(given) != "cpu":
                return own(self, device, *args, **kwargs)
            return self.to("cpu", **dict(zip(("non_blocking", "memory_format"), args, strict=False)), **kwargs)

        return cuda

    return change


def forget_compiled() -> None:
    """Have torch.compile begin anew, if it is in use: its code has the devices that were meant when it was made."""
    if "torch._dynamo.eval_frame" in sys.modules:
        from torch._dynamo import reset, trace_rules

        trace_rules.clear_lru_cache()
        reset()
