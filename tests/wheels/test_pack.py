"""What is in a wheel, what it requires, and that no wheel is packed which would not load."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheel.wheelfile import WheelFile

from wheels import __main__ as command
from wheels.pack import pack
from wheels.platforms import PLATFORMS
from wheels.sources import MissingError, TargetPython

MAC = "macosx_14_0_arm64"
PYTHON = TargetPython("cp312", Path("headers are not looked at"))

Engine = Callable[[str], Path]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """No engine, but a file of the name."""

    def write(torch: str) -> Path:
        major, minor, _ = torch.split(".")
        file = tmp_path / f"engines/torch{major}_{minor}/_C.cpython-312-darwin.so"
        file.parent.mkdir(parents=True)
        file.with_suffix(".torch").write_text(torch)
        file.write_text(f"not for macOS, nor anything else, and longer than a header: {torch}")
        return file

    return write


def test_the_wheels_content(root: Path, engine: Engine, tmp_path: Path) -> None:
    path = pack({torch: engine(torch) for torch in ("2.13.0", "2.14.1")}, "cp312", MAC, tmp_path, tmp_path / "dist")
    assert path.name.endswith("-cp312-cp312-macosx_14_0_arm64.whl")
    with WheelFile(path) as wheel:
        information = wheel.dist_info_path
        names = set(wheel.namelist())
        # Reading compares with the hash in RECORD.
        content = {name: wheel.read(name).decode() for name in names}
    package = {name for name in names if name.startswith("torchdevice/")}
    ends = (".py", ".pyi", ".typed", ".json", ".html", ".toml")
    files = (file for file in (root / "torchdevice").rglob("*") if file.suffix in ends)
    sources = {str(file.relative_to(root)) for file in files}
    stems = [f"torchdevice/engines/torch2_{minor}/_C.cpython-312-darwin" for minor in (13, 14)]
    built = {f"{stem}.{end}" for stem in stems for end in ("so", "torch")}
    assert package == {*sources, *built}
    assert {name for name in names if "/" not in name} == {
        "TorchDevice.py",
        "torchdevice_autoload.py",
        "torchdevice_ext.py",
    }
    assert content[f"{stems[1]}.so"].endswith("2.14.1")
    assert content[f"{stems[1]}.torch"] == "2.14.1"
    assert content[f"{information}/entry_points.txt"] == (
        "[console_scripts]\ntorchdevice = torchdevice.cli:main\n\n"
        "[pytest11]\ntorchdevice = torchdevice.testing.pytest_plugin\n\n"
        "[torch.backends]\ntorchdevice = torchdevice_autoload:autoload\n"
    )
    assert "Tag: cp312-cp312-macosx_14_0_arm64\n" in content[f"{information}/WHEEL"]
    assert "Root-Is-Purelib: false\n" in content[f"{information}/WHEEL"]
    assert "Requires-Dist: torch>=2.13,<2.15\n" in content[f"{information}/METADATA"]
    assert content[f"{information}/METADATA"].count("Requires-Dist: torch") == 1
    recorded = {line.split(",")[0] for line in content[f"{information}/RECORD"].splitlines()}
    assert recorded == names


def test_a_wheel_is_the_same_file_whenever_and_wherever_it_is_packed(engine: Engine, tmp_path: Path) -> None:
    built = {"2.13.0": engine("2.13.0")}
    first = pack(built, "cp312", MAC, tmp_path / "one", tmp_path / "dist").read_bytes()
    built["2.13.0"].chmod(0o755)
    os.utime(built["2.13.0"], (1_900_000_000, 1_900_000_000))
    assert pack(built, "cp312", MAC, tmp_path / "a folder elsewhere", tmp_path / "dist").read_bytes() == first


def test_an_engine_that_would_not_load_is_not_packed(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = engine("2.13.0")
    monkeypatch.setattr(command, "build", lambda *arguments: [file])
    monkeypatch.setattr("wheels.build.take_headers", lambda root, python: tmp_path)
    assert not command.release(PLATFORMS[MAC], ["2.13.0"], [PYTHON], 1, tmp_path, tmp_path / "dist")
    assert "macosx_14_0_arm64 2.13.0 _C.cpython-312-darwin.so: " in (error := capsys.readouterr().err)
    assert "is no Mach-O file for arm64" in error
    assert not (tmp_path / "dist").exists()


def test_a_python_that_torch_has_no_wheel_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = TargetPython("cp39", Path("headers are not looked at"))
    assert not command.release(PLATFORMS[MAC], ["2.13.0", "2.14.1"], [python], 1, tmp_path, tmp_path / "dist")
    assert capsys.readouterr().err == (
        "macosx_14_0_arm64 cp39: there is no wheel of torch 2.13.0, 2.14.1 for this Python\n"
    )


def test_what_cannot_be_had_has_a_status_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(*_arguments: object) -> list[Path]:
        raise MissingError("no such torch")

    monkeypatch.setattr(command, "build", build)
    assert command.main(["--root", str(tmp_path), "--platform", MAC]) == 3
    assert capsys.readouterr().err == "wheels: no such torch\n"
    assert command.main(["--root", str(tmp_path), "--python", "no-such-python"]) == 3
    assert "wheels: no-such-python does not run (" in capsys.readouterr().err


def test_releases_that_there_are_not() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "wheels", "--torch", "1.0.0"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "argument --torch: invalid choice: '1.0.0'" in process.stderr
