"""The corpus: what is wrong with a faulty program is found, and nothing with its mended twin."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401  before _C, so that the backend is the activated one

from torchdevice import _C

FOLDER = Path(__file__).parent
FILES = {path.stem: path for path in sorted((FOLDER / "programs").glob("*.py"))}
#: What the faults of a file are.
KINDS = {
    "races": "races",
    "sanitizer": "races",
    "lifetime": "lifetime",
    "uninitialized": "uninitialized",
    "sync": "sync",
    "graph": "graph",
    "late": "late",
    "asserts": "asserts",
}
NAMES = [
    (file, name.removesuffix("_mended"))
    for file, path in FILES.items()
    for name in re.findall(r"^def (\w+_mended)\(", path.read_text(), re.MULTILINE)
]


@functools.cache
def found(file: str) -> dict[str, dict[str, int]]:
    """Of each program: how many findings of which kind."""
    search = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(FOLDER.parents[1])]))
    environment = {"TORCHDEVICE_CHECK": "all", "TORCHDEVICE_COUNT": "2", "PYTHONPATH": search}
    process = subprocess.run(
        [sys.executable, str(FOLDER / "corpus.py"), str(FILES[file])],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    result: dict[str, dict[str, int]] = json.loads(process.stdout.splitlines()[-1])
    return result


ALLOCATOR = "MPS has an allocator of its own"
NOT_OVER_MPS = {
    "lifetime": ALLOCATOR,
    "uninitialized": ALLOCATOR,
    "late": ALLOCATOR,
    "asserts": "Metal's kernels do not check values",
}


def found_here(kind: str) -> list[pytest.MarkDecorator]:
    reason = NOT_OVER_MPS.get(kind) if _C.native_backend_name() == "mps" else None
    return [pytest.mark.skip(reason=reason)] if reason is not None else []


PAIRS = [pytest.param(*pair, marks=found_here(KINDS[pair[0]])) for pair in NAMES]


@pytest.mark.parametrize(("file", "name"), PAIRS)
def test_the_fault_is_found(file: str, name: str) -> None:
    assert set(found(file)[name]) == {KINDS[file]}


@pytest.mark.parametrize(("file", "name"), PAIRS)
def test_the_mended_twin_is_quiet(file: str, name: str) -> None:
    assert found(file)[f"{name}_mended"] == {}


def test_every_file_has_a_kind() -> None:
    assert set(KINDS) == set(FILES)
