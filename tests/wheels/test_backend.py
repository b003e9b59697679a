"""Which torch a build from source takes, and what it then requires."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wheels import backend
from wheels.releases import DEFAULT_TORCH, TORCHS, torch_range

Install = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _setuptools_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hooks run setup.py, which leaves a folder with our entry points among the sources."""
    for hook in ("get_requires_for_build_wheel", "get_requires_for_build_editable"):
        monkeypatch.setattr(backend.build_meta, hook, lambda config_settings=None: [])


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """An isolated build: torch cannot be imported. Installs one, of which only the version is there."""
    monkeypatch.delenv("TORCHDEVICE_TORCH", raising=False)
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / name))

    def install(version: str, folder: str = "purelib") -> Path:
        root = tmp_path / folder / "torch"
        root.mkdir(parents=True)
        (root / "version.py").write_text(f"__all__ = ['__version__']\n__version__ = '{version}'\n")
        return root

    return install


def downloads() -> list[str]:
    hooks = (backend.get_requires_for_build_wheel, backend.get_requires_for_build_editable)
    wheel, editable = ([name for name in hook() if name.startswith("torch")] for hook in hooks)
    assert wheel == editable
    return wheel


@pytest.mark.parametrize(
    ("version", "requirement"),
    [
        ("2.13.0+cpu", "torch==2.13.*"),
        ("2.14.1+cu130", "torch==2.14.*"),
        ("2.16.0", "torch==2.16.*"),
        ("2.13.0+mycompany", "torch==2.13.*"),
        ("2.16.0a0+git1234567", "torch==2.16.0a0"),
        ("2.16.0.dev20261120+cpu", "torch==2.16.0.dev20261120"),
    ],
)
def test_an_isolated_build_takes_the_torch_that_is_installed(install: Install, version: str, requirement: str) -> None:
    root = install(version)
    assert backend.torch_root() == root
    assert downloads() == []
    assert backend.requirement() == requirement


def test_without_a_torch_the_default_release_is_downloaded(install: Install) -> None:
    assert backend.torch_root() is None
    assert downloads() == [f"torch=={DEFAULT_TORCH}"]
    assert DEFAULT_TORCH in TORCHS
    assert backend.requirement() == torch_range() == "torch>=2.12,<2.16"


def test_without_isolation_it_is_the_one_that_python_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHDEVICE_TORCH", raising=False)
    root = backend.torch_root()
    assert root == Path(torch.__path__[0])
    assert backend.torch_version(root) == torch.__version__


def test_a_chosen_torch(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("2.13.0")
    root = install("2.14.1+cu130", "elsewhere")
    monkeypatch.setenv("TORCHDEVICE_TORCH", str(root))
    assert backend.torch_root() == root
    assert backend.requirement() == "torch==2.14.*"
    monkeypatch.setenv("TORCHDEVICE_TORCH", "")
    assert backend.torch_root() is None
    assert backend.requirement() == "torch>=2.12,<2.16"
    monkeypatch.setenv("TORCHDEVICE_TORCH", str(root.parent))
    with pytest.raises(RuntimeError) as caught:
        backend.torch_root()
    assert str(caught.value) == (
        f"torchdevice: TORCHDEVICE_TORCH={root.parent} is not the folder of a torch (it has no version.py); give the "
        'one that `python -c "import torch; print(torch.__path__[0])"` prints'
    )


def test_a_torch_that_does_not_say_what_it_is(install: Install) -> None:
    root = install("2.13.0")
    (root / "version.py").write_text("")
    with pytest.raises(RuntimeError) as caught:
        backend.requirement()
    assert str(caught.value) == f"torchdevice: {root / 'version.py'} does not say which torch it is of"
