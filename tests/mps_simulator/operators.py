"""Writes operators.inc: torch's operators that have an MPS kernel, from the native_functions.yaml in its wheel."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "codegen"))

import torchgen
from operators import Operators
from torchgen.model import DispatchKey


def main(output: Path) -> None:
    operators = Operators.from_yaml(Path(torchgen.__file__).parent / "packaged/ATen/native")
    names = [str(f.func.name) for f in operators.functions if operators.kernel(f, DispatchKey.MPS) is not None]
    output.write_text("".join(f'"{name}",\n' for name in sorted(names)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
