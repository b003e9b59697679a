"""Fixtures shared by every test: torch with torchdevice active, and fresh interpreters."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from torchdevice.testing import ledger

RunPython = Callable[..., subprocess.CompletedProcess[str]]
Compile = Callable[..., Path]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class MpsEntry(ledger.Entry):
    """Node ids of tests, without "tests/", that fail over MPS."""

    skip: bool = field(default=False, kw_only=True)  #: would hang


def mps_ledger() -> list[MpsEntry]:
    """What tests/mps_ledger.toml lists."""
    return ledger.load(ROOT / "tests" / "mps_ledger.toml", MpsEntry)


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Run code in a fresh interpreter: `run_python(code, check=True, timeout=120, **environment)`.

    Returns the CompletedProcess with stdout and stderr as text. Fails the test when `check` and the code exits with
    anything but 0. A variable given as None is removed from the environment.
    """

    def run(
        code: str, *, check: bool = True, timeout: float = 120, **environment: str | None
    ) -> subprocess.CompletedProcess[str]:
        inherited = dict(os.environ)
        if environment.get("TORCH_DEVICE_BACKEND_AUTOLOAD") == "0":
            inherited.pop("TORCHDEVICE_BACKEND", None)  # the simulated MPS is kept out too
        # Code may import what tests share, as a last resort: an instrumented torchdevice comes first.
        search = os.pathsep.join(filter(None, [inherited.get("PYTHONPATH"), str(ROOT)]))
        merged = {**inherited, "PYTHONPATH": search, **environment}
        process = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={name: value for name, value in merged.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and process.returncode != 0:
            pytest.fail(f"exit code {process.returncode}\n{process.stdout}\n{process.stderr}", pytrace=False)
        return process

    return run


@pytest.fixture(scope="session")
def compile_cpp() -> Compile:
    """Compile one file against torch, with csrc's headers: `compile_cpp(source, target, *flags)` returns the target."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    installed = Path(torch.__file__).parent

    def compile_file(source: Path, target: Path, *flags: str) -> Path:
        command = [
            "c++", "-std=c++20", "-O0", "-Wall", "-Wextra", "-Wno-unused-parameter", "-I", str(ROOT / "csrc"),
            "-isystem", str(installed / "include"), str(source), "-o", str(target), f"-L{installed / 'lib'}",
            "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{installed / 'lib'}", *flags,
        ]  # fmt: skip
        subprocess.run(command, check=True)
        return target

    return compile_file


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """A test sees the same weights and inputs in every run, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def empty_cache() -> Iterator[None]:
    """Nothing is cached when the test begins, and no limit of memory is left behind."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def every_warning() -> Iterator[None]:
    """Warnings that C++ gives once are given each time."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """torch.compile knows nothing of other tests' functions."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Over MPS, what tests/mps_ledger.toml lists must fail, and nothing else may."""
    from torchdevice import _C

    if _C.native_backend_name() != "mps":
        return
    entries = mps_ledger()
    for item in items:
        if entry := ledger.find(entries, item.nodeid.removeprefix("tests/")):
            item.add_marker(
                pytest.mark.skip(reason=entry.reason)
                if entry.skip
                else pytest.mark.xfail(strict=not entry.sometimes, reason=entry.reason)
            )
