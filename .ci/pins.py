"""Writes wheels/pins/: what a release's builds download, each in one version, with the hashes that its registry names.

pip takes nothing else (`--require-hashes`), from its cache neither. Run after a change of wheels/releases.py, or for
newer tools: `python .ci/pins.py`. Needs uv.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from wheels.macos.tools import LLD, LLD_VERSION, ZIG  # noqa: E402
from wheels.releases import TORCHS  # noqa: E402
from wheels.sources import PINS  # noqa: E402

#: pyproject.toml names the same versions of those that it requires; a test holds that.
BUILD_TOOLS = ["setuptools", "wheel", "cmake", "ninja", "pyyaml", "typing_extensions", "uv"]


def pin(name: str, requirements: list[str], *options: str) -> None:
    """Write one file of requirements with hashes."""
    command = ["uv", "pip", "compile", "-q", "--no-config", "--generate-hashes", "--no-header", "--no-annotate"]
    process = subprocess.run(
        [*command, *options, "-"], input="\n".join(requirements), capture_output=True, text=True, check=True
    )
    # Else a file of the same release with a local version, such as +cpu, would do.
    text = process.stdout.replace("torch==", "torch===")
    (PINS / f"{name}.txt").write_text(f"# Written by .ci/pins.py.\n{text}")


def pin_lld() -> None:
    """Debian's package, as its own list describes it."""
    command = ["apt-cache", "show", f"lld-{LLD}={LLD_VERSION}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    fields = dict(re.findall(r"^(Filename|SHA256): (.*)$", text, re.MULTILINE))
    name = fields["Filename"].rpartition("/")[2]
    (PINS / "lld.txt").write_text(f"# Written by .ci/pins.py.\n{name} \\\n    --hash=sha256:{fields['SHA256']}\n")


if __name__ == "__main__":
    PINS.mkdir(exist_ok=True)
    for torch in TORCHS:
        pin(f"torch-{torch}", [f"torch=={torch}"], "--no-deps", "--python-version", "3.12")
    pin("ziglang", [f"ziglang=={ZIG}"], "--no-deps")
    pin_lld()
    pin("build", BUILD_TOOLS, "--universal", "--python-version", "3.10")
