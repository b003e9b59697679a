"""A damaged installation: `import torch` works on, and one line says what is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import RunPython
from torchdevice import engine

USE = "import torch; print(torch.ones(2).sum().item())"


@pytest.fixture
def package(root: Path, tmp_path: Path) -> Path:
    """A copy of the package that can be damaged."""
    copy = tmp_path / "torchdevice"
    shutil.copytree(root / "torchdevice", copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(root / "torchdevice_autoload.py", tmp_path)
    return copy


def what_is_said(run_python: RunPython, package: Path, options: str = "", **environment: str) -> str:
    """On stderr, with a torch that has to work."""
    search = os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH")]))
    result = run_python(USE, PYTHONPATH=search, PYTHONSAFEPATH="1", PYTHONWARNINGS=options, **environment)
    assert result.stdout == "2.0\n"
    return result.stderr


def own_engine(package: Path) -> Path:
    return package / engine.find(str(torch.__version__)).relative_to(engine.ENGINES.parent)


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("__init__.py", "raise SystemExit(3)", "SystemExit: 3"),
        ("activation.py", "import torchdevice.nothing", "ModuleNotFoundError: No module named 'torchdevice.nothing'"),
        ("settings.py", "raise KeyboardInterrupt('at once')", "KeyboardInterrupt: at once"),
        ("gpu.py", "def (", "SyntaxError: invalid syntax (gpu.py, line 1)"),
        ("engine.py", "raise GeneratorExit('no end')", "GeneratorExit: no end"),
        ("patches/__init__.py", "import sys; sys.exit('bye')", "SystemExit: bye"),
        ("patches/cuda.py", "from torchdevice import nothing", "ImportError: cannot import name 'nothing' from "),
        ("patches/change.py", "raise MemoryError", "MemoryError: "),
    ],
)
def test_a_module_that_fails_is_one_warning(
    run_python: RunPython, package: Path, module: str, text: str, said: str
) -> None:
    (package / module).write_text(text)
    stderr = what_is_said(run_python, package)
    assert stderr.count("Warning") == 1
    assert f"RuntimeWarning: torchdevice is not active: activation failed: {said}" in stderr
    assert "Traceback" not in stderr


def test_warnings_as_errors_break_nothing_either(run_python: RunPython, package: Path) -> None:
    error = "error::RuntimeWarning"
    (package / "gpu.py").write_text("raise OSError('lost')")
    assert what_is_said(run_python, package, error) == ("torchdevice is not active: activation failed: OSError: lost\n")
    own_engine(package).unlink()
    (package / "gpu.py").write_text("def gpu_works(): return False")
    assert what_is_said(run_python, package, error).startswith(
        "RuntimeWarning: torchdevice is not active: its engine for torch "
        f"{engine.minor_of(torch.__version__)} is damaged or missing"
    )


@pytest.mark.skipif(engine.SUFFIX.endswith("darwin.so"), reason="macOS looks at the size by itself")
@pytest.mark.parametrize("part", [0.2, 0.9, 1.0])
def test_an_engine_that_ends_too_early_is_not_loaded(run_python: RunPython, package: Path, part: float) -> None:
    """Loaded, it would end the process with SIGBUS."""
    path = own_engine(package)
    whole = path.stat().st_size
    kept = min(int(whole * part), whole - 1)
    os.truncate(path, kept)
    stderr = what_is_said(run_python, package)
    assert stderr.count("Warning") == 1
    assert (
        f"torchdevice is not active: its engine for torch {engine.minor_of(torch.__version__)} does not load ({path}: "
        f"the last {whole - kept} bytes are missing); reinstall torchdevice-ext\n"
    ) in stderr


@pytest.mark.skipif(engine.SUFFIX.endswith("darwin.so"), reason="macOS looks at the pages by itself")
def test_an_engine_whose_end_was_never_written_is_not_loaded(run_python: RunPython, package: Path) -> None:
    """As a full disk or a lost write leaves it: of the right size. Loaded, it would end the process with SIGSEGV."""
    path = own_engine(package)
    whole = path.stat().st_size
    os.truncate(path, whole // 2)
    os.truncate(path, whole)
    stderr = what_is_said(run_python, package)
    assert stderr.count("Warning") == 1
    assert (
        f"torchdevice is not active: its engine for torch {engine.minor_of(torch.__version__)} does not load ({path}: "
        "its end is zeros); reinstall torchdevice-ext\n"
    ) in stderr


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("suffix", [".so", ".torch"])
def test_what_is_no_file_is_not_read(
    run_python: RunPython, package: Path, make: Callable[[Path], object], suffix: str
) -> None:
    """To read a FIFO would wait for ever."""
    path = own_engine(package)
    place = path.with_suffix(suffix)
    place.unlink()
    make(place)
    assert (
        f"torchdevice is not active: its engine for torch {engine.minor_of(torch.__version__)} is damaged or missing "
        f"({path}); reinstall torchdevice-ext\n"
    ) in what_is_said(run_python, package)


def test_an_undamaged_copy_works(run_python: RunPython, package: Path) -> None:
    assert what_is_said(run_python, package) == ""
