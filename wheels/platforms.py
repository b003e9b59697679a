"""The platforms that wheels are built for: what is special about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wheels.linux import check as linux_check
from wheels.macos import check as macos_check
from wheels.macos import tools as macos_tools


@dataclass(frozen=True)
class Platform:
    """One of them, all built on Linux for x86-64."""

    tag: str  #: as in the names of wheels
    abi: str  #: as in the names of extensions
    toolchain: str | None  #: a file in cmake/, where it is not this machine's
    #: Of an extension, given the target (wheels/sources.py), the Python's tag and its headers.
    faults_of: Callable[[Path, Path, str, Path], list[str]]
    #: Brings what only this platform needs, given a folder for tools, the target and Python's headers.
    lay_out: Callable[[Path, Path, Path], None] = lambda tools, target, headers: None

    def soabi(self, python: str) -> str:
        """As in the name of an extension, for a Python such as cp311."""
        return f"cpython-{python.removeprefix('cp')}-{self.abi}"


PLATFORMS = {
    platform.tag: platform
    for platform in (
        Platform(
            "manylinux_2_28_x86_64",
            "x86_64-linux-gnu",
            None,
            partial(linux_check.faults_of, machine="x86_64"),
        ),
        Platform(
            "manylinux_2_28_aarch64",
            "aarch64-linux-gnu",
            "linux-aarch64.cmake",
            partial(linux_check.faults_of, machine="aarch64"),
        ),
        Platform(
            "macosx_14_0_arm64",
            "darwin",
            "macos-arm64.cmake",
            macos_check.faults_of,
            macos_tools.lay_out,
        ),
    )
}
