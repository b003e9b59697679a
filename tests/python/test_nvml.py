"""Utilization, temperature and the like come from NVIDIA's driver: what a GPU machine says without its Python package,
and what the package itself says without a driver, reaches the user unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import RunPython

QUERIES = ("utilization", "temperature", "power_draw", "clock_rate", "memory_usage", "device_memory_used")

try:
    import pynvml
except ImportError:
    pynvml = None


@pytest.mark.skipif(pynvml is not None, reason="nvidia-ml-py is installed")
@pytest.mark.parametrize("query", QUERIES)
def test_without_the_package(query: str) -> None:
    with pytest.raises(
        ModuleNotFoundError, match="nvidia-ml-py does not seem to be installed or it can't be imported."
    ):
        getattr(torch.cuda, query)()


@pytest.mark.skipif(pynvml is not None, reason="nvidia-ml-py is installed")
def test_processes_without_the_package() -> None:
    assert torch.cuda.list_gpu_processes() == "pynvml module not found, please install nvidia-ml-py"


def test_with_the_package_and_no_driver(run_python: RunPython, tmp_path: Path) -> None:
    """A package as nvidia-ml-py is, on a machine whose driver is not loaded."""
    (tmp_path / "pynvml.py").write_text(
        """
class NVMLError(Exception):
    def __str__(self):
        return "Driver Not Loaded"

class NVMLError_DriverNotLoaded(NVMLError):
    pass

class NVMLError_LibraryNotFound(NVMLError):
    pass

def nvmlInit():
    raise NVMLError_DriverNotLoaded
"""
    )
    process = run_python(
        f"""
        import torch
        for query in {QUERIES}:
            try:
                getattr(torch.cuda, query)()
            except RuntimeError as error:
                print(type(error).__name__, error)
        print(torch.cuda.list_gpu_processes())
        """,
        PYTHONPATH=str(tmp_path),
    )
    *answers, processes = process.stdout.splitlines()
    assert answers == ["RuntimeError cuda driver can't be loaded, is cuda enabled?"] * len(QUERIES)
    assert processes == "cuda driver can't be loaded, is cuda enabled?"
