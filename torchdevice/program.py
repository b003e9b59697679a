"""A user's program, run in this process as `python PROGRAM …` or `python -m MODULE …` would run it.

`torchdevice run`, `… check` and the process of a `torchdevice fit` run programs, and all of them by this.
"""

from __future__ import annotations

import importlib.util
import io
import os
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any


@dataclass(frozen=True)
class Program:
    """A script, a folder or an archive with a `__main__.py`, or a module; and its arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False

    @classmethod
    def of(cls, words: Sequence[str]) -> Program:
        """What stands behind `python`."""
        if words[0] == "-m":
            return cls(words[1], tuple(words[2:]), is_module=True)
        return cls(words[0], tuple(words[1:]))

    @property
    def words(self) -> list[str]:
        """What stands behind `python`."""
        return [*(["-m"] if self.is_module else []), self.name, *self.arguments]

    def mistake(self) -> str | None:
        """Why there is nothing to run, if that is seen without running any of it."""
        if self.is_module:
            return None if _is_there(self.name.partition(".")[0]) else f"no module {self.name!r}"
        is_there = os.path.isfile(self.name) or _main_in(_absolute(self.name)) is not None
        return None if is_there else f"no file {self.name!r}"

    def run(self) -> int:
        """Run it; returns its exit status. What it raises, but for SystemExit, is raised."""
        sys.argv = ["-m" if self.is_module else self.name, *self.arguments]
        try:
            if self.is_module:
                _put_in_front(os.getcwd())
                runpy.run_module(self.name, run_name="__main__", alter_sys=True)
            else:
                _run_path(_absolute(self.name))
        except SystemExit as error:
            return _status(error)
        return 0


def _absolute(name: str) -> str:
    """As Python has it, which leaves "./" where it is."""
    return os.path.join(os.getcwd(), name)


def _run_path(path: str) -> None:
    """Modules and code have an absolute path here, and `sys.argv` what was typed; runpy has the same for both."""
    spec = _main_in(path)
    if spec is None:
        _put_in_front(os.path.dirname(os.path.realpath(path)))
        main = ModuleType("__main__")
        vars(main).update(__file__=path, __loader__=SourceFileLoader("__main__", path))
        code = _compiled(path)
    else:
        sys.path[: int(_is_path_ours())] = [path]
        main = importlib.util.module_from_spec(spec)
        loader: Any = spec.loader  # a path's own finder knows only loaders that have code
        code = loader.get_code("__main__")
    sys.modules["__main__"] = main
    exec(code, vars(main))


def _main_in(path: str) -> ModuleSpec | None:
    """The `__main__.py` of a folder or an archive."""
    finder = pkgutil.get_importer(path)
    return None if finder is None else finder.find_spec("__main__")


def _compiled(path: str) -> CodeType:
    with io.open_code(path) as file:
        code: CodeType | None = pkgutil.read_code(file)  # of a .pyc
        if code is None:
            file.seek(0)
            code = compile(file.read(), path, "exec", dont_inherit=True)
        return code


def _status(error: SystemExit) -> int:
    """As the interpreter reads it."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _is_path_ours() -> bool:
    """Whether the first entry of `sys.path` is torchdevice's own, as a script or a module; `python -P` adds none."""
    return not getattr(sys.flags, "safe_path", False)


def _put_in_front(folder: str) -> None:
    """In place of torchdevice's own folder."""
    if _is_path_ours():
        sys.path[0] = folder


def _is_there(package: str) -> bool:
    """Seen from the current folder, where `python -m` looks first."""
    before = list(sys.path)
    try:
        _put_in_front(os.getcwd())
        return package != "" and importlib.util.find_spec(package) is not None
    except ValueError:  # it is loaded and came from nowhere, as __main__
        return False
    finally:
        sys.path[:] = before
