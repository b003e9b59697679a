"""The build backend that pyproject.toml names: setuptools', and it builds against the torch that is installed.

pip hides what is installed from a build, and would download another torch for it. So torch is looked for beside the
Python that builds. Where there is none, the build requires the default release.
"""

from __future__ import annotations

import re
import site
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from torchdevice import engine, settings
from wheels.releases import DEFAULT_TORCH, torch_range

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Besides pyproject.toml's."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_torch_to_download()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Besides pyproject.toml's."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_torch_to_download()]


def _torch_to_download() -> list[str]:
    return [f"torch=={DEFAULT_TORCH}"] if torch_root() is None else []


def torch_root() -> Path | None:
    """The folder of the torch to build against, which is not imported: that takes seconds."""
    chosen = settings.read("TORCHDEVICE_TORCH")
    if chosen is not None:
        if chosen and not Path(chosen, "version.py").exists():
            raise RuntimeError(
                f"torchdevice: TORCHDEVICE_TORCH={chosen} is not the folder of a torch (it has no version.py); give "
                'the one that `python -c "import torch; print(torch.__path__[0])"` prints'
            )
        return Path(chosen).resolve() if chosen else None
    spec = find_spec("torch")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    # pip's isolated build runs the environment's Python, and hides only what is installed there.
    folders = [sysconfig.get_path("platlib"), sysconfig.get_path("purelib")]
    if sys.prefix == sys.base_prefix:  # no virtual environment, and so with the user's own packages
        folders.append(site.getusersitepackages())
    roots = [Path(folder, "torch") for folder in folders]
    return next((root for root in roots if (root / "version.py").exists()), None)


def torch_version(root: Path) -> str:
    """Of the torch in a folder, as 2.13.0+cpu."""
    found = re.search(r"__version__ = ['\"]([^'\"]+)", (root / "version.py").read_text())
    if found is None:
        raise RuntimeError(f"torchdevice: {root / 'version.py'} does not say which torch it is of")
    return found[1]


def requirement() -> str:
    """What is built from source has one engine and requires its torch, which then stays."""
    root = torch_root()
    if root is None:
        return torch_range()
    version = torch_version(root)
    return f"torch=={engine.minor_of(version)}.*" if engine.is_release(version) else f"torch=={version.split('+')[0]}"
