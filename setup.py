"""Builds the extension torchdevice._C with CMake and ninja; everything else is declared in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
#: Says which torch the extension was compiled for; a file of the build, as the extension is.
BUILT_FOR = "torchdevice/_built_for.py"


class CMakeBuild(build_ext):
    """Configure, build and install into the wheel, or, for an editable install, beside the Python sources."""

    def build_extension(self, ext: Extension) -> None:
        compiler = os.environ.get("CXX", "c++")
        if shutil.which(compiler) is None:
            raise RuntimeError(
                f"torchdevice: no C++ compiler found (looked for '{compiler}'; $CXX overrides). "
                "Install g++ 12 or clang 15 or newer (Debian: apt-get install g++; macOS: "
                "xcode-select --install) and run pip again."
            )
        build = Path(os.environ.get("TORCHDEVICE_BUILD_DIR", ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"))
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        staging = build / "staging"
        options = [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_INSTALL_PREFIX={staging}"]
        if "TORCHDEVICE_SANITIZE" in os.environ:
            options.append(f"-DTORCHDEVICE_SANITIZE={os.environ['TORCHDEVICE_SANITIZE']}")
        # While torch is imported to ask for its paths, no other back end may activate itself.
        environment = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
        for command in (
            ["cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", *options],
            ["cmake", "--build", str(build)],
            ["cmake", "--install", str(build), "--strip"],
        ):
            subprocess.run(command, check=True, env=environment)
        # Renamed into place: processes that have the old file mapped keep it.
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(".fresh")
        shutil.copy2(staging / "torchdevice" / target.name, fresh)
        fresh.replace(target)
        shutil.copy2(staging / BUILT_FOR, target.parent)

    def copy_extensions_to_source(self) -> None:
        """Of an editable install; setuptools knows of the extension alone."""
        super().copy_extensions_to_source()
        self.copy_file(str(Path(self.build_lib, BUILT_FOR)), str(ROOT / BUILT_FOR))


setup(ext_modules=[Extension("torchdevice._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
