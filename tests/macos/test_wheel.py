"""What is packed for macOS, and that nothing is packed which macOS would not load."""

from __future__ import annotations

from pathlib import Path

import pytest
from wheel.wheelfile import WheelFile

from macos.sysroot import TORCH, TargetPython
from macos.wheel import deliver, pack

PYTHON = TargetPython("cp312", Path("headers are not looked at"))


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    """No extension, but a file of the name."""
    file = tmp_path / "engines/torch2_13/_C.cpython-312-darwin.so"
    file.parent.mkdir(parents=True)
    file.with_suffix(".torch").write_text("2.13.0")
    file.write_bytes(b"not for macOS, nor anything else: " + bytes(40))
    return file


def test_the_wheels_content(root: Path, extension: Path, tmp_path: Path) -> None:
    path = pack(extension, PYTHON, tmp_path, tmp_path / "dist")
    assert path.name.endswith("-cp312-cp312-macosx_14_0_arm64.whl")
    with WheelFile(path) as wheel:
        information = wheel.dist_info_path
        names = set(wheel.namelist())
        # Reading compares with the hash in RECORD.
        content = {name: wheel.read(name).decode() for name in names}
    package = {name for name in names if name.startswith("torchdevice/")}
    sources = {str(source.relative_to(root)) for source in (root / "torchdevice").rglob("*.py")}
    stem = f"torchdevice/engines/torch2_13/{extension.stem}"
    assert package == {*sources, f"{stem}.so", f"{stem}.torch", "torchdevice/py.typed", "torchdevice/_C.pyi"}
    assert {name for name in names if "/" not in name} == {"torchdevice_ext.py"}
    assert content[f"{stem}.so"] == extension.read_text()
    assert content[f"{stem}.torch"] == "2.13.0"
    assert content[f"{information}/entry_points.txt"] == (
        "[console_scripts]\ntorchdevice = torchdevice.cli:main\n\n"
        "[torch.backends]\ntorchdevice = torchdevice.activation:autoload\n"
    )
    assert "Tag: cp312-cp312-macosx_14_0_arm64\n" in content[f"{information}/WHEEL"]
    assert "Root-Is-Purelib: false\n" in content[f"{information}/WHEEL"]
    major, minor, _ = TORCH.split(".")
    assert f"Requires-Dist: torch<{major}.{int(minor) + 1},>={TORCH}\n" in content[f"{information}/METADATA"]
    recorded = {line.split(",")[0] for line in content[f"{information}/RECORD"].splitlines()}
    assert recorded == names


def test_what_macos_would_not_load_is_not_packed(
    extension: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deliver(extension, PYTHON, tmp_path, tmp_path / "dist") is None
    assert "is no Mach-O file for arm64" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()
