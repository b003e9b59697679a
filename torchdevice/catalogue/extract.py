"""The public names of the installed torch, found by walking it: modules, functions, classes, methods, operators."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import types
import warnings
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from torchdevice.catalogue.schema import Kind, Record

#: They are no part of torch's API: objects that make up names, its own tests, programs that run when they are imported.
_NOT_WALKED = (
    "torch.classes",
    "torch.ops",
    "torch.testing",
    "torch.utils.bottleneck",
    "torch.distributed.run",
    "torch.distributed.launch",
)


def minor() -> str:
    """Of the installed torch."""
    return ".".join(torch.__version__.split(".")[:2])


def extract() -> dict[str, Record]:
    """A record for each name, without a status; the same object under a second name is an alias of the first."""
    records: dict[str, Record] = {}
    seen: dict[int, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are deprecated say so when they are looked up
        for name, value, owner in _names():
            if name in records:
                continue
            record = _record(name, value, owner)
            if record.kind != "property" and (first := seen.setdefault(id(value), name)) != name:
                record.alias_of = first
            records[name] = record
    for name in sorted(torch._C._dispatch_get_all_op_names()):
        records[name] = _operator(name)
    return records


def public_modules() -> list[types.ModuleType]:
    """torch and the modules in it that a program may name, by breadth: the shortest names first."""
    found = {"torch": torch}
    queue: deque[Any] = deque([torch])
    while queue:
        module = queue.popleft()
        names = {name for name, value in vars(module).items() if isinstance(value, types.ModuleType)}
        path = getattr(module, "__path__", None)
        names |= {one.name for one in pkgutil.iter_modules(path if isinstance(path, list) else [])}
        for name in sorted(names):
            full = f"{module.__name__}.{name}"
            if name.startswith("_") or full in found or full.startswith(_NOT_WALKED):
                continue
            child = getattr(module, name, None)
            if not isinstance(child, types.ModuleType):
                child = _import(full)
            if child is not None and child.__name__ == full:
                found[full] = child
                queue.append(child)
    return list(found.values())


def _import(name: str) -> types.ModuleType | None:
    """None where it needs a library that is missing, or another platform."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):
        return None


def _names() -> Iterator[tuple[str, Any, Any]]:
    """Qualified name, object, and the class or module that has it; torch.Tensor first, as others have its methods."""
    members: set[int] = set()
    for full, value, owner in [("torch.Tensor", torch.Tensor, torch), *_of_modules()]:
        yield full, value, owner
        if isinstance(value, type) and _is_torchs(value) and id(value) not in members:
            members.add(id(value))
            for name, raw in _members(value):
                if id(raw) not in members:
                    members.add(id(raw))
                    yield f"{full}.{name}", raw, value


def _of_modules() -> Iterator[tuple[str, Any, Any]]:
    for module in public_modules():
        for name in sorted(_offered(module)):
            value = getattr(module, name, None)
            if callable(value) and not isinstance(value, types.ModuleType):
                yield f"{module.__name__}.{name}", value, module


def _offered(module: types.ModuleType) -> set[str]:
    """What it lists, else what it has of its own and of torch's compiled modules."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return {name for name in listed if not name.startswith("_")}
    return {name for name, value in vars(module).items() if not name.startswith("_") and _is_of(module, value)}


def _is_of(module: types.ModuleType, value: Any) -> bool:
    """torch's functions in C say that they are torch's, or nothing."""
    place = getattr(value, "__module__", None)
    if isinstance(value, types.BuiltinFunctionType):
        return place in (None, "torch") or place.startswith("torch._C")
    return str(place).startswith((module.__name__, "torch._C"))


def _is_torchs(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == "torch"


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class defines itself; of torch.Tensor also what torch._C has."""
    bases = [kind] if kind is not torch.Tensor else [kind, torch._C.TensorBase]
    for base in bases:
        for name, raw in sorted(vars(base).items()):
            is_member = isinstance(raw, _MEMBERS) or (callable(raw) and not isinstance(raw, type))
            if is_member and not name.startswith("_"):
                yield name, raw


_MEMBERS = (property, classmethod, staticmethod, types.GetSetDescriptorType, types.MemberDescriptorType)


def _record(name: str, value: Any, owner: Any) -> Record:
    doc = inspect.getdoc(value) or ""
    category = owner.__name__ if isinstance(owner, types.ModuleType) else name.rpartition(".")[0]
    return Record(
        name=name,
        kind=_kind(value, owner),
        category=category,
        signature=_signature(value, doc),
        summary=_summary(doc),
        first_seen=minor(),
        last_seen=minor(),
        deprecated_since=_deprecated(value, doc),
    )


def _kind(value: Any, owner: Any) -> Kind:
    if isinstance(value, (property, types.GetSetDescriptorType, types.MemberDescriptorType)):
        return "property"
    if isinstance(value, type):
        return "class"
    return "function" if isinstance(owner, types.ModuleType) else "method"


def _signature(value: Any, doc: str) -> str:
    try:
        text = str(inspect.signature(getattr(value, "__func__", value)))
    except (TypeError, ValueError):
        first = doc.partition("\n")[0].strip()  # of what is written in C: "add(input, other) -> Tensor"
        called = re.match(r"[\w.]+(\(.*)", first)
        text = called[1] if called else ""
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # where a default stands in memory differs from run to run


def _summary(doc: str) -> str:
    """The first sentence that is no signature."""
    for paragraph in re.split(r"\n\s*\n", doc):
        text = " ".join(paragraph.split())
        if text and not re.match(r"[\w.]+\(.*\)( ->.*)?$", text):
            return re.split(r"(?<=[.!?])\s", text)[0][:300]
    return ""


def _deprecated(value: Any, doc: str) -> str | None:
    since = re.search(r"\.\. deprecated::\s*([\d.]+)?", doc)
    if since:
        return since[1] or "unknown"
    return "unknown" if hasattr(value, "__deprecated__") else None


def _operator(name: str) -> Record:
    schema = next((line for line in torch._C._dispatch_dump(name).splitlines() if line.startswith("schema: ")), "")
    return Record(
        name=name,
        kind="operator",
        category=f"operators of {name.partition('::')[0]}",
        signature=schema.removeprefix("schema: ").removeprefix(name),
        operators=[name],
        first_seen=minor(),
        last_seen=minor(),
    )
