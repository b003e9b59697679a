"""What is taken of torch's wheels and of Python's headers."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path

import pytest

from wheels import sources
from wheels.macos.tools import LLD, LLD_VERSION, ZIG
from wheels.releases import TORCHS
from wheels.sources import MissingError, TargetPython, take_headers, take_torch, target_python

PLATFORM = "manylinux_2_28_x86_64"
CONTENT = [
    "torch/version.py",
    "torch/include/torch/torch.h",
    "torch/lib/libc10.so",
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libtorch_cuda.so",
    "torch/lib/libtorch_python.so",
    "torch/nn/modules.py",
    "torchgen/gen.py",
    "torchgen/packaged/ATen/native/native_functions.yaml",
]


def write_torch(root: Path, tag: str) -> Path:
    path = root / "downloads" / f"torch-2.13.0-{tag}-{tag}-{PLATFORM}.whl"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for name in CONTENT:
            wheel.writestr(name, f"{name} of {tag}")
    return path


def write_pins(folder: Path, files: list[Path]) -> Path:
    """wheels/pins/ for a torch of which there are these wheels."""
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    folder.mkdir()
    lines = ["torch===2.13.0", *(f"--hash=sha256:{digest}" for digest in hashes)]
    (folder / "torch-2.13.0.txt").write_text(" \\\n    ".join(lines) + "\n")
    return folder


def test_of_torch_only_what_is_built_against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = [write_torch(tmp_path, tag) for tag in ("cp311", "cp312")]
    monkeypatch.setattr(sources, "PINS", write_pins(tmp_path / "pins", wheels))
    for tag in ("cp311", "cp312", "cp312"):
        target = take_torch(tmp_path, PLATFORM, "2.13.0", TargetPython(tag, Path("not looked at")))
    assert target == tmp_path / PLATFORM / "2.13.0"
    files = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    left_out = {"torch/lib/libtorch_cuda.so", "torch/lib/libtorch_python.so", "torch/nn/modules.py"}
    assert {name: text for name, text in files.items() if name.startswith("torch")} == {
        name: f"{name} of cp311" for name in CONTENT if name not in left_out
    }
    assert {name: text for name, text in files.items() if name.startswith("cp")} == {
        f"{tag}/libtorch_python.so": f"torch/lib/libtorch_python.so of {tag}" for tag in ("cp311", "cp312")
    }
    assert not any(path.exists() for path in wheels)


def test_a_torch_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    expected = "pip download .*--require-hashes .*/torch-2.13.0.txt failed:\n(.*\n)?.*No matching distribution"
    with pytest.raises(MissingError, match=expected):
        take_torch(tmp_path, PLATFORM, "2.13.0", TargetPython("cp311", Path("not looked at")))


def test_a_torch_that_an_earlier_run_left_is_compared_with_the_pins(tmp_path: Path) -> None:
    path = write_torch(tmp_path, "cp311")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(MissingError) as caught:
        take_torch(tmp_path, PLATFORM, "2.13.0", TargetPython("cp311", Path("not looked at")))
    assert str(caught.value) == (
        f"{path} was none of the files in wheels/pins/torch-2.13.0.txt (its SHA-256 was {digest}) and has been "
        "removed: run again to download it"
    )
    assert not path.exists()


def test_pip_refuses_another_torch_than_the_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the right name and version, from an index or from pip's cache."""
    offered = write_torch(tmp_path, "cp311")
    other = write_torch(tmp_path, "cp312")
    monkeypatch.setattr(sources, "PINS", write_pins(tmp_path / "pins", [other]))
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offered.parent))
    with pytest.raises(MissingError, match="THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE"):
        take_torch(tmp_path / "fresh", PLATFORM, "2.13.0", TargetPython("cp311", Path("not looked at")))


def test_every_release_is_pinned(root: Path) -> None:
    for torch, pythons in TORCHS.items():
        assert f"\ntorch==={torch} \\\n" in (sources.PINS / f"torch-{torch}.txt").read_text()
        assert len(sources.pinned_hashes(f"torch-{torch}")) >= 3 * len(pythons)
    assert f"\nziglang=={ZIG} \\\n" in (sources.PINS / "ziglang.txt").read_text()
    assert f"lld-{LLD}_{LLD_VERSION.partition(':')[2]}_amd64.deb \\\n" in (sources.PINS / "lld.txt").read_text()


def test_the_build_tools_are_those_of_pyproject(root: Path) -> None:
    """A build from source downloads the versions that releases are built with; pip knows no hashes there."""
    pinned = re.findall(r"^(\S+==\S+)", (sources.PINS / "build.txt").read_text(), re.MULTILINE)
    (line,) = re.findall(r"^requires = (\[.*\])$", (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert {name.replace("_", "-") for name in json.loads(line)} <= set(pinned)


def test_headers_of_a_command_and_of_a_folder(tmp_path: Path) -> None:
    python = target_python(sys.executable)
    assert python.tag == f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert target_python(str(python.headers)) == python
    assert (take_headers(tmp_path, python) / "Python.h").read_text() == (python.headers / "Python.h").read_text()


def test_debian_keeps_one_header_apart(tmp_path: Path) -> None:
    headers, apart = tmp_path / "include/python3.14", tmp_path / "include/x86_64-linux-gnu/python3.14"
    for folder in (headers, apart):
        folder.mkdir(parents=True)
        (folder / "pyconfig.h").write_text(f"in {folder}")
    (headers / "Python.h").touch()
    (headers / "patchlevel.h").write_text("#define PY_MAJOR_VERSION        3\n#define PY_MINOR_VERSION        14\n")
    python = target_python(str(headers))
    assert python == TargetPython("cp314", headers)
    assert (take_headers(tmp_path, python) / "pyconfig.h").read_text() == f"in {apart}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-python", r"no-such-python does not run \(.*\): its headers are needed to build for it"),
        (".", r"\. has no Python\.h in \.: install its development files"),
    ],
)
def test_no_headers(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingError, match=f"^{message}$"):
        sources.target_python(name)
