"""Calls the public names of a package by their recipes, in this process: `python -m conformance.walk torch.cuda`.

Prints one JSON object: module -> its public names, and name -> null where the call worked, else [error, text].
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from conformance.recipes import CLASSES, RECIPES


def package_of(module_name: str) -> str:
    """What is walked in one process: torch.cuda with all of its submodules, torch.backends ..."""
    return ".".join(module_name.split(".")[:2])


def public_names(module_name: str) -> list[str]:
    """What a module offers: its __all__, else what it defines, and the methods of its classes in CLASSES.

    Left out is what an earlier module of RECIPES offers as the very same object.
    """
    module = importlib.import_module(module_name)
    offered = [name for name in _offered(module) if not _offered_before(module_name, getattr(module, name))]
    methods = [
        f"{name}.{method}"
        for name in CLASSES.get(module_name, [])
        for method in dir(getattr(module, name))
        if not method.startswith("_") and not hasattr(object, method)
    ]
    return [*offered, *methods]


def _offered(module: types.ModuleType) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    defined = vars(getattr(module, "m", module))  # torch.backends.cudnn is an object in front of the module
    return [
        name
        for name, value in defined.items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", module.__name__) == module.__name__
    ]


def _offered_before(module_name: str, value: Any) -> bool:
    if not callable(value):
        return False
    earlier = list(RECIPES)[: list(RECIPES).index(module_name)]
    modules = [importlib.import_module(name) for name in earlier]
    return any(getattr(module, name, None) is value for module in modules for name in _offered(module))


def call(code: str, names: dict[str, Any]) -> list[str] | None:
    """Run one recipe; its error as [type, text]."""
    try:
        exec(compile(code, "<recipe>", "exec"), dict(names))
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


def walk(module_name: str) -> dict[str, list[str] | None]:
    """The outcome of every recipe of a module, in the order of the table."""
    import torch

    importlib.import_module(module_name)
    outcomes = {}
    for name, code in RECIPES[module_name].items():
        x = torch.ones(4, 4, device="cuda:0")
        y = torch.ones(4, 4, device="cuda:1")
        with tempfile.TemporaryDirectory() as folder:
            outcomes[name] = call(code, {"torch": torch, "os": os, "x": x, "y": y, "tmp": Path(folder)})
    return outcomes


if __name__ == "__main__":
    (package,) = sys.argv[1:]
    modules = [module for module in RECIPES if package_of(module) == package]
    print(json.dumps({module: {"names": public_names(module), "outcomes": walk(module)} for module in modules}))
