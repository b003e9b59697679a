"""The scripts of .ci as modules."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

LoadScript = Callable[[str], ModuleType]


@pytest.fixture(scope="session")
def load_script(root: Path) -> LoadScript:
    """Load a script of .ci by its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, root / ".ci" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
