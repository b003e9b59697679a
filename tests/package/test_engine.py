"""Which engine is taken for which torch, and what is said where none fits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import RunPython
from torchdevice import _C, engine
from torchdevice.engine import BUILD, SUFFIX, EngineError

Put = Callable[..., Path]


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of torchdevice/engines, empty."""
    monkeypatch.setattr(engine, "ENGINES", tmp_path)
    return tmp_path


@pytest.fixture
def put(engines: Path) -> Put:
    """Put a file into it that stands for an engine which was built for the version."""

    def put(built_for: str, suffix: str = SUFFIX) -> Path:
        path = engines / engine.folder_of(engine.minor_of(built_for)) / f"_C{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.with_suffix(".torch").write_text(f"{built_for}\n")
        return path

    return put


def refusal(torch_version: str) -> str:
    with pytest.raises(EngineError) as caught:
        engine.find(torch_version)
    return str(caught.value)


def test_the_engine_in_use_is_the_one_for_this_torch() -> None:
    path = engine.find(str(torch.__version__))
    assert _C.__file__ == str(path)
    assert path.with_suffix(".torch").read_text() == f"{torch.__version__}\n"


@pytest.mark.parametrize(
    "torch_version",
    ["2.13.0", "2.13.1", "2.13.0+cpu", "2.13.0+cu130", "2.13.0+mycompany.2", "2.13.0.post1", "2.13.12+x"],
)
def test_releases_of_a_minor_share_an_engine(put: Put, torch_version: str) -> None:
    put("2.12.0")
    path = put("2.13.0+cpu")
    assert engine.find(torch_version) == path


@pytest.mark.parametrize(
    "torch_version", ["2.15.0a0+git1234567", "2.15.0.dev20261120+cpu", "2.15.0rc1", "2.15.0a0+ecf3bae40a.nv26.11"]
)
def test_what_is_no_release_takes_its_own_engine_alone(put: Put, torch_version: str) -> None:
    put("2.15.0")
    assert refusal(torch_version) == (
        f"its engine for torch 2.15 was built for torch 2.15.0 and this is torch {torch_version}: only releases share "
        f"one. Build it for this torch: {BUILD}"
    )
    path = put(torch_version)
    assert engine.find(torch_version) == path
    assert refusal("2.15.0") == (
        f"its engine for torch 2.15 was built for torch {torch_version} and this is torch 2.15.0: only releases share "
        f"one. Build it for this torch: {BUILD}"
    )


@pytest.mark.parametrize("torch_version", ["2.11.0", "2.16.0+cu132", "2.16.0a0+git1234567", "unknown"])
def test_an_unknown_minor(put: Put, torch_version: str) -> None:
    for known in ("2.14.1", "2.9.0", "2.13.0"):
        put(known)
    put("2.17.0", ".of-another-python.so")
    assert refusal(torch_version) == (
        f"it has engines for torch 2.9, 2.13, 2.14 and this is torch {torch_version}; install one of these, or build "
        f"it for this torch: {BUILD}"
    )


def test_a_build_keeps_torch_and_what_it_built_before_out() -> None:
    assert BUILD == (
        "pip install --no-deps --force-reinstall --no-cache-dir --no-binary torchdevice-ext torchdevice-ext"
    )


def test_nothing_was_built(engines: Path) -> None:
    assert refusal("2.13.0") == f"it has not been built ({engines} holds no engine); reinstall torchdevice-ext"


def test_the_file_is_missing(put: Put) -> None:
    path = put("2.13.0")
    expected = f"its engine for torch 2.13 is damaged or missing ({path}); reinstall torchdevice-ext"
    path.unlink()
    assert refusal("2.13.0") == expected
    put("2.13.0").with_suffix(".torch").unlink()
    assert refusal("2.13.0") == expected
    put("2.13.0", ".of-another-python.so")
    assert refusal("2.13.0") == expected


def test_an_engine_of_another_python_or_platform(put: Put) -> None:
    put("2.13.0", ".cpython-39-darwin.so")
    put("2.13.0", ".cpython-39-aarch64-linux-gnu.so")
    assert refusal("2.13.0+cpu") == (
        "its engine for torch 2.13 is of another Python or platform (.cpython-39-aarch64-linux-gnu.so, "
        f".cpython-39-darwin.so; this one needs {SUFFIX}); reinstall torchdevice-ext with this Python"
    )


def test_what_does_not_load_is_one_warning(run_python: RunPython, root: Path, tmp_path: Path) -> None:
    """In a copy of the package; `import torch` works on."""
    package = tmp_path / "torchdevice"
    shutil.copytree(root / "torchdevice", package, ignore=shutil.ignore_patterns("__pycache__"))
    own = package / engine.find(str(torch.__version__)).relative_to(root / "torchdevice")
    own.write_bytes(b"no engine")
    code = "import torch, torchdevice; print(torchdevice.__file__, torch.ones(2).sum().item())"
    result = run_python(code, PYTHONPATH=str(tmp_path), PYTHONSAFEPATH="1")
    assert result.stdout == f"{package / '__init__.py'} 2.0\n"
    assert result.stderr.count("RuntimeWarning") == 1
    minor = engine.minor_of(torch.__version__)
    assert (
        f"torchdevice is not active: its engine for torch {minor} does not load ({own}: file too short); "
        "reinstall torchdevice-ext\n"
    ) in result.stderr


def test_no_engine_is_one_warning_and_no_activation(run_python: RunPython) -> None:
    result = run_python(
        """
        import torch
        version, torch.__version__ = torch.__version__, "3.99.1"
        import torchdevice_ext, torchdevice
        assert not torchdevice.status().active and not torch.cuda.is_available()
        try:
            from torchdevice import _C
        except ImportError as error:
            assert str(error) == torchdevice.status().reason
        torch.__version__ = version
        assert torchdevice.activate().active and torch.ones(2, device="cuda").sum().item() == 2
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )
    assert result.stderr.count("RuntimeWarning") == 1
    assert "torchdevice is not active: it has engines for torch " in result.stderr
    assert f" and this is torch 3.99.1; install one of these, or build it for this torch: {BUILD}\n" in result.stderr
