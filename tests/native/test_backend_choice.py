"""TORCHDEVICE_BACKEND chooses the native backend."""

from __future__ import annotations

import pytest

from tests.conftest import RunPython

NAME = "import torch; from torchdevice import _C; print(_C.native_backend_name())"


def test_the_cpu_by_name(run_python: RunPython) -> None:
    assert run_python(NAME, TORCHDEVICE_BACKEND="cpu").stdout == "cpu\n"


def test_the_cpu_where_there_is_no_mps(run_python: RunPython) -> None:
    assert run_python(NAME, TORCHDEVICE_BACKEND=None, PYTHONPATH=None).stdout == "cpu\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "TORCHDEVICE_BACKEND must be mps, cpu or dry, but it is 'cuda'"),
        ("mps", "TORCHDEVICE_BACKEND=mps, but MPS does not work here"),
    ],
)
def test_one_that_is_not_there(run_python: RunPython, name: str, message: str) -> None:
    process = run_python("import torch; print(torch.cuda.is_available())", TORCHDEVICE_BACKEND=name, PYTHONPATH=None)
    assert process.stdout == "False\n"
    assert message in process.stderr
