"""The public names and parameters of a torch that is not imported: read from a wheel, or from a folder of one."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterator
from pathlib import Path

#: Stubs of torch's functions in C, and what they are public as.
_STUBS = {"torch/_C/_VariableFunctions.pyi": "torch", "torch/_C/__init__.pyi": None}
#: The class in the second that is torch.Tensor's base.
_TENSOR = ("TensorBase", "_TensorBase")

#: Of each name its parameters, those of all overloads.
Names = dict[str, frozenset[str]]


class ReleaseError(Exception):
    """There is no torch to read there; the message says what to do."""


def read(path: Path) -> Names:
    """The names of a wheel (a file) or of an installed torch (its folder).

    Raises:
        ReleaseError: it is neither.
    """
    found: dict[str, set[str]] = {}
    for file, text in _files(path):
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue  # a template
        for name, parameters in _names_of(file, tree):
            found.setdefault(name, set()).update(parameters)
    if "torch.nn.modules.linear.Linear" not in found:
        raise ReleaseError(
            f"{path} is neither a wheel of torch nor the folder of one. To get a wheel: "
            "pip download --no-deps torch==VERSION"
        )
    return {name: frozenset(parameters) for name, parameters in found.items()}


def _files(path: Path) -> Iterator[tuple[str, str]]:
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if _is_public(name):
                    yield name, wheel.read(name).decode("utf-8", "replace")
    elif path.is_dir():
        for file in sorted(path.rglob("*.py*")):
            name = f"torch/{file.relative_to(path).as_posix()}"
            if _is_public(name):
                yield name, file.read_text(encoding="utf-8", errors="replace")


def _is_public(name: str) -> bool:
    if name in _STUBS:
        return True
    parts = name.removesuffix(".py").split("/")
    inner = parts[1:-1] if parts[-1] == "__init__" else parts[1:]
    return name.startswith("torch/") and name.endswith(".py") and not any(part.startswith("_") for part in inner)


def _names_of(file: str, tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    if file == "torch/_C/__init__.pyi":
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name in _TENSOR:
                yield from _members("torch.Tensor", node)
        return
    module = _STUBS.get(file) or file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            name = f"{module}.{node.name}"
            if isinstance(node, ast.FunctionDef):
                yield name, _parameters(node)
            else:
                yield name, []
                yield from _members(name, node)


def _members(owner: str, node: ast.ClassDef) -> Iterator[tuple[str, list[str]]]:
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"):
            yield f"{owner}.{one.name}", _parameters(one)


def _parameters(node: ast.FunctionDef) -> list[str]:
    arguments = node.args
    return [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if one.arg != "self"]
