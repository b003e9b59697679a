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

sys.path.insert(0, str(ROOT))  # where a build is isolated, it is not the current folder's

from torchdevice import settings  # noqa: E402


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
        chosen = settings.read("TORCHDEVICE_BUILD_DIR")
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}" if chosen is None else Path(chosen)
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        staging = build / "staging"
        options = [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_INSTALL_PREFIX={staging}"]
        sanitizer = settings.read("TORCHDEVICE_SANITIZE")
        if sanitizer is not None:
            options.append(f"-DTORCHDEVICE_SANITIZE={sanitizer}")
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
