"""What gets built: the wheel, the sdist, and the message when there is no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from torchdevice import engine


def setup_py(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *arguments],
        cwd=root,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_compiler(root: Path, tmp_path: Path) -> None:
    process = setup_py(root, "build_ext", "--build-lib", str(tmp_path), CXX="no-such-compiler")
    assert process.returncode != 0
    assert (
        "torchdevice: no C++ compiler found (looked for 'no-such-compiler'; $CXX overrides). "
        "Install g++ 12 or clang 15 or newer (Debian: apt-get install g++; macOS: "
        "xcode-select --install) and run pip again."
    ) in process.stderr


@pytest.mark.parametrize("missing", ["cmake", "ninja"])
def test_no_build_tools(root: Path, tmp_path: Path, missing: str) -> None:
    """As without build isolation in an environment that lacks them."""
    for tool in {"cmake", "ninja", "c++"} - {missing}:
        (tmp_path / tool).symlink_to("/bin/true")
    process = setup_py(root, "build_ext", "--build-lib", str(tmp_path), PATH=str(tmp_path))
    assert process.returncode != 0
    assert (
        "torchdevice: cmake and ninja are needed to build: pip install cmake ninja pyyaml, or build with pip's build "
        "isolation, which brings them"
    ) in process.stderr


def test_no_torch(root: Path, tmp_path: Path) -> None:
    process = setup_py(root, "build_ext", "--build-lib", str(tmp_path), TORCHDEVICE_TORCH="")
    assert process.returncode != 0
    assert (
        f"torchdevice: there is no torch to build against: install one beside this Python ({sys.executable}), or set "
        "TORCHDEVICE_TORCH to the folder of one"
    ) in process.stderr


def test_sdist_holds_what_a_build_needs(root: Path, tmp_path: Path) -> None:
    process = setup_py(root, "egg_info", "--egg-base", str(tmp_path), "sdist", "--dist-dir", str(tmp_path))
    assert process.returncode == 0, process.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as contents:
        names = {name.split("/", 1)[-1] for name in contents.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files", "csrc", "codegen", "cmake", "torchdevice", "wheels"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    if tracked.returncode == 0:
        assert set(tracked.stdout.split()) <= names
    assert {"CMakeLists.txt", "setup.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert {"TorchDevice.py", "torchdevice_autoload.py", "torchdevice_ext.py"} <= names
    made = [name for name in names if name.endswith((".so", ".pyc", ".torch"))]
    assert made + [name for name in names if name.startswith(("build/", ".venv", "tests"))] == []


def test_wheel_holds_nothing_but_what_it_needs(root: Path, tmp_path: Path) -> None:
    minor = engine.minor_of(torch.__version__)
    if not (root / f"build/cmake-{sys.implementation.cache_tag}-torch{minor}/CMakeCache.txt").exists():
        pytest.skip("no build folder to reuse; a wheel from nothing takes minutes")
    process = setup_py(
        root,
        "egg_info", "--egg-base", str(tmp_path),
        "build", "--build-base", str(tmp_path / "build"),
        "bdist_wheel", "--dist-dir", str(tmp_path), "--bdist-dir", str(tmp_path / "bdist"),
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    (wheel,) = tmp_path.glob("torchdevice_ext-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if name.startswith("torchdevice/")}
    sources = {str(path.relative_to(root)) for path in (root / "torchdevice").rglob("*.py")}
    path = engine.find(str(torch.__version__)).relative_to(root)
    built = {str(path), str(path.with_suffix(".torch"))}
    pages = ("fit/page.html", "reports/page.html", "reports/run.html", "testing/suite/page.html")
    kinds = (*pages, "testing/suite/profiles/*.toml", "catalogue/data/*.json")
    data = {str(one.relative_to(root)) for kind in kinds for one in (root / "torchdevice").glob(kind)}
    assert package == {*sources, *built, *data, "torchdevice/py.typed", "torchdevice/_C.pyi"}
    assert [n for n in names if "/" not in n] == ["TorchDevice.py", "torchdevice_autoload.py", "torchdevice_ext.py"]
    metadata = next(name for name in names if name.endswith("entry_points.txt"))
    assert zipfile.ZipFile(wheel).read(metadata).decode() == (
        "[console_scripts]\ntorchdevice = torchdevice.cli:main\n\n"
        "[pytest11]\ntorchdevice = torchdevice.testing.pytest_plugin\n\n"
        "[torch.backends]\ntorchdevice = torchdevice_autoload:autoload\n"
    )
