"""Builds the engine for the torch that is installed, with CMake and ninja; all else is declared in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent

sys.path.insert(0, str(ROOT))  # where setup.py is run by itself, it is not there yet

from torchdevice import engine, settings  # noqa: E402
from wheels import backend  # noqa: E402


class CMakeBuild(build_ext):
    """Configure, build and install into the wheel, or, for an editable install, beside the Python sources."""

    def finalize_options(self) -> None:
        """The engine's folder is that of torch's minor. An sdist asks too, and can do without."""
        (extension,) = self.distribution.ext_modules
        root = backend.torch_root()
        if root is not None:
            minor = engine.minor_of(backend.torch_version(root))
            extension.name = f"torchdevice.engines.{engine.folder_of(minor)}._C"
        super().finalize_options()

    def build_extension(self, ext: Extension) -> None:
        compiler = os.environ.get("CXX", "c++")
        if shutil.which(compiler) is None:
            raise RuntimeError(
                f"torchdevice: no C++ compiler found (looked for '{compiler}'; $CXX overrides). "
                "Install g++ 12 or clang 15 or newer (Debian: apt-get install g++; macOS: "
                "xcode-select --install) and run pip again."
            )
        ninja = shutil.which("ninja")
        if ninja is None or shutil.which("cmake") is None:
            raise RuntimeError(
                "torchdevice: cmake and ninja are needed to build: pip install cmake ninja pyyaml, or build with pip's "
                "build isolation, which brings them"
            )
        torch = backend.torch_root()
        if torch is None:
            raise RuntimeError(
                "torchdevice: there is no torch to build against: install one beside this Python "
                f"({sys.executable}), or set TORCHDEVICE_TORCH to the folder of one"
            )
        chosen = settings.read("TORCHDEVICE_BUILD_DIR")
        own = f"cmake-{sys.implementation.cache_tag}-torch{engine.minor_of(backend.torch_version(torch))}"
        build = ROOT / "build" / own if chosen is None else Path(chosen)
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        staging = build / "staging"
        options = [
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DTORCH_ROOT={torch}",
            f"-DCMAKE_INSTALL_PREFIX={staging}",
            # An isolated build's is gone when the build folder is used again.
            f"-DCMAKE_MAKE_PROGRAM={ninja}",
        ]
        sanitizer = settings.read("TORCHDEVICE_SANITIZE")
        if sanitizer is not None:
            options.append(f"-DTORCHDEVICE_SANITIZE={sanitizer}")
        for command in (
            ["cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", *options],
            ["cmake", "--build", str(build)],
            ["cmake", "--install", str(build), "--strip"],
        ):
            subprocess.run(command, check=True)
        self._install_files(staging / "engines" / target.parent.name, target)

    def copy_extensions_to_source(self) -> None:
        """Of an editable install. Engines for other minors of torch, other environments' perhaps, stay."""
        (extension,) = self.extensions
        built = Path(self.build_lib, self.get_ext_filename(extension.name))
        self._install_files(built.parent, ROOT / self.get_ext_filename(extension.name))

    def _install_files(self, folder: Path, target: Path) -> None:
        """The engine and the file that says for which torch it is."""
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in (target.with_suffix(".torch"), target):
            # Renamed into place: processes that have the old file mapped keep it.
            fresh = file.with_suffix(".fresh")
            shutil.copy2(folder / file.name, fresh)
            fresh.replace(file)


setup(
    ext_modules=[Extension("torchdevice._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
    install_requires=[backend.requirement()],
)
