"""What the changes to torch are made of: attributes are set, now or once a module is there, and can be taken back.

Nothing of torchdevice is imported here: every patch imports this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

#: Takes a change back.
Undo = Callable[[], None]


class Patch(NamedTuple):
    """One change of torch: `apply` makes it and returns what takes it back."""

    target: str
    reason: str
    apply: Callable[[], Undo]


_ABSENT = object()


def set_all(owner: Any, values: dict[str, Any]) -> Undo:
    """Set attributes that `owner` has; returns what gives it back its own.

    A name that torch no longer has would be set for nobody.
    """
    missing = [name for name in values if not hasattr(owner, name)]
    if missing:
        name = getattr(owner, "__name__", type(owner).__name__)
        raise AttributeError(f"torchdevice changes {', '.join(missing)} of {name}, which this torch does not have")
    return add_all(owner, values)


def add_all(owner: Any, values: dict[str, Any]) -> Undo:
    """The same for attributes that `owner` may lack, as in a build of torch without CUDA."""
    before = {name: getattr(owner, name, _ABSENT) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)

    def restore() -> None:
        for name, value in before.items():
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)

    return restore


def set_item(mapping: MutableMapping[str, Any], key: str, value: Any) -> Undo:
    """The same for an entry of a mapping, such as sys.modules."""
    before = mapping.get(key, _ABSENT)
    mapping[key] = value

    def restore() -> None:
        if before is _ABSENT:
            mapping.pop(key, None)
        else:
            mapping[key] = before

    return restore


def set_new(kind: type, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Undo:
    """Have calls of a class that is written in C go through `make(its own __new__)`; the class stays the object it is.

    Python refuses to set `__new__` of such a class. So what it does where it allows it is done here: `__new__` goes
    into the class's dictionary, and Python's function that looks it up there into the slot tp_new.
    """
    import ctypes
    import gc

    class Probe:
        """Has that function in its slot, which is at the same place in every class."""

        def __new__(cls) -> Probe:
            return object.__new__(cls)

    any_type: Any = type

    def slots(of: type) -> Any:
        return (ctypes.c_void_p * (any_type.__basicsize__ // ctypes.sizeof(ctypes.c_void_p))).from_address(id(of))

    get_slot = ctypes.pythonapi.PyType_GetSlot
    get_slot.restype, get_slot.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_int]
    tp_new = 65  # of Include/typeslots.h, which never changes
    looks_up = get_slot(Probe, tp_new)
    place = next(index for index, value in enumerate(slots(Probe)) if value == looks_up)
    before = get_slot(kind, tp_new)
    names: dict[str, Any] = gc.get_referents(kind.__dict__)[0]
    entry = names["__new__"]
    call = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object, ctypes.c_void_p)(before)
    call_with_names = ctypes.PYFUNCTYPE(ctypes.py_object, *[ctypes.py_object] * 3)(before)

    def own_new(cls: type, /, *args: Any, **kwargs: Any) -> Any:
        return call_with_names(cls, args, kwargs) if kwargs else call(cls, args, None)

    def put(new: Any, slot: int | None) -> None:
        names["__new__"] = new
        slot_of_kind = ctypes.c_void_p.from_address(id(kind) + place * ctypes.sizeof(ctypes.c_void_p))
        slot_of_kind.value = slot
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))

    put(staticmethod(make(own_new)), looks_up)
    return lambda: put(entry, before)


def all_of(*undos: Undo) -> Undo:
    """Several changes as one: takes back the last one first."""

    def restore() -> None:
        for undo in reversed(undos):
            undo()

    return restore


def make_all(changes: Iterable[Undo]) -> Undo:
    """Changes that are made as they are iterated over, as one: if one fails, those before it are taken back."""
    made: list[Undo] = []
    try:
        for undo in changes:
            made.append(undo)
    except BaseException:
        all_of(*made)()
        raise
    return all_of(*made)


def unchanged() -> None:
    """The undo where there was nothing to change."""


def when_imported(name: str, change: Callable[[ModuleType], Undo]) -> Undo:
    """Call `change` with the module `name` now, or right after it has been executed, so that `import torch` stays
    quick; returns what takes it back."""
    watcher = _Watcher(name, change)
    if name in sys.modules:
        watcher.apply(sys.modules[name])
    else:
        sys.meta_path.insert(0, watcher)
    return watcher.take_back


class _Watcher(MetaPathFinder):
    """Finds one module as the finders after it do, and has it changed once it is there."""

    def __init__(self, name: str, change: Callable[[ModuleType], Undo]) -> None:
        self._name = name
        self._change = change
        self._undo: Undo | None = None

    def apply(self, module: ModuleType) -> None:
        self._undo = self._change(module)

    def take_back(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._undo is not None:
            self._undo()
            self._undo = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        # Those before it, which may watch the same module, have asked it.
        after = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else sys.meta_path
        others = (finder for finder in after if hasattr(finder, "find_spec"))
        spec = next((found for finder in others if (found := finder.find_spec(fullname, path, target))), None)
        if spec is None or spec.loader is None:
            return spec
        loader, execute = spec.loader, spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self.apply(module)

        loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec
