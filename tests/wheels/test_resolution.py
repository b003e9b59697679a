"""What pip and uv do with a user's torch when they install torchdevice-ext: nothing. Without network, with stubs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheel.wheelfile import WheelFile

TORCHS = ("2.11.0", "2.12.0", "2.12.1", "2.13.0", "2.14.1", "2.15.0", "2.16.0")

#: With a torch or none: the new packages, as in torch-2.15.0.
Resolve = Callable[["str | None"], "set[str]"]


def write_wheel(folder: Path, name: str, version: str, metadata: str) -> Path:
    """A wheel with nothing in it but what a resolver reads."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with WheelFile(path, "w") as wheel:
        information = f"{name}-{version}.dist-info"
        wheel.writestr(f"{information}/METADATA", metadata)
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    return path


def uv() -> str:
    path = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert path is not None, 'uv is not installed: pip install -e ".[test]"'
    return path


def write_torch(folder: Path, version: str) -> Path:
    return write_wheel(folder, "torch", version, f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")


@pytest.fixture(scope="module")
def packages(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torch in many releases, and torchdevice-ext with the metadata of its wheels."""
    folder = tmp_path_factory.mktemp("packages")
    for version in TORCHS:
        write_torch(folder, version)
    information = tmp_path_factory.mktemp("metadata")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(information), "dist_info",
         "--output-dir", str(information)],
        cwd=root, env={**os.environ, "TORCHDEVICE_TORCH": ""}, check=True,
    )  # fmt: skip
    (metadata,) = information.glob("*.dist-info/METADATA")
    version = metadata.parent.name.removesuffix(".dist-info").split("-")[1]
    write_wheel(folder, "torchdevice_ext", version, metadata.read_text())
    return folder


@pytest.fixture(params=["pip", "uv"])
def resolve(request: pytest.FixtureRequest, packages: Path, tmp_path: Path) -> Resolve:
    """What an installation of torchdevice-ext beside a release of torch would install."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin/python")
    if request.param == "pip":
        install = [sys.executable, "-m", "pip", "--python", python, "install"]
    else:
        install = [uv(), "pip", "install", "--python", python, "--cache-dir", str(tmp_path / "cache")]
    install += ["--no-index", "--find-links", str(packages)]

    def resolve(torch: str | None) -> set[str]:
        if torch is not None:
            subprocess.run([*install, str(write_torch(tmp_path, torch))], check=True, capture_output=True)
        process = subprocess.run([*install, "--dry-run", "torchdevice-ext"], check=True, capture_output=True, text=True)
        lines = (process.stdout + process.stderr).splitlines()
        if request.param == "pip":
            (line,) = (line for line in lines if line.startswith("Would install "))
            return set(line.removeprefix("Would install ").split())
        return {line[3:].replace("==", "-") for line in lines if line.startswith(" + ")}

    return resolve


@pytest.mark.parametrize("torch", ["2.12.0", "2.12.1", "2.13.0", "2.13.0+cpu", "2.14.1+cu130", "2.15.0+mycompany"])
def test_a_torch_that_is_supported_stays(resolve: Resolve, torch: str) -> None:
    assert [name.rpartition("-")[0] for name in resolve(torch)] == ["torchdevice-ext"]


def test_without_torch_it_is_the_newest_that_is_supported(resolve: Resolve) -> None:
    assert "torch-2.15.0" in resolve(None)


@pytest.mark.parametrize("torch", ["2.11.0", "2.16.0"])
def test_a_torch_that_is_not_supported_would_be_replaced(resolve: Resolve, torch: str) -> None:
    """By pip's rules, unless it is told --no-deps; README says so."""
    assert "torch-2.15.0" in resolve(torch)


@pytest.mark.parametrize(("more", "torch"), [([], "2.15.0"), (["--with", "torch==2.13.0"], "2.13.0")])
def test_uv_run(packages: Path, tmp_path: Path, more: list[str], torch: str) -> None:
    question = "from importlib.metadata import version; print(version('torchdevice-ext'), version('torch'))"
    process = subprocess.run(
        [uv(), "run", "--no-project", "--isolated", "--python", sys.executable, "--cache-dir", str(tmp_path),
         "--no-index", "--find-links", str(packages), "--with", "torchdevice-ext", *more, "python", "-c", question],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert process.stdout.split()[1] == torch
