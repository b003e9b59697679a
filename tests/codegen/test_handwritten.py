"""HANDWRITTEN in codegen/rules.py is what csrc/aten implements of the operators that would be forwarded otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

#: Prints the names of the operators that would be forwarded if nothing were written by hand, and HANDWRITTEN. In an
#: interpreter of its own, as codegen's modules are plain scripts.
QUESTION = """
import json, pathlib, rules, torchgen
from kernels import select_kernels
from operators import Operators
operators = Operators.from_yaml(pathlib.Path(torchgen.__file__).parent / "packaged/ATen/native")
handwritten, rules.HANDWRITTEN = rules.HANDWRITTEN, set()
names = [str(kernel.function.func.name) for kernel in select_kernels(operators)]
print(json.dumps([names, sorted(handwritten)]))
"""


def test_handwritten_is_what_is_implemented_by_hand(root: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", QUESTION],
        env={**os.environ, "PYTHONPATH": str(root / "codegen"), "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    names, handwritten = json.loads(process.stdout)
    assert sorted(set(handwritten) - set(names)) == [], "not forwarded anyway"
    # A name that stands there and has a kernel nevertheless has that from csrc/aten: none is generated for it. A name
    # that csrc/aten implements and is missing there would have two, which Registrar::add refuses at activation.
    dumps = {name: torch._C._dispatch_dump(f"aten::{name}") for name in handwritten}
    assert [name for name, dump in dumps.items() if "\nCUDA: torchdevice ::" not in dump] == [], "not implemented"
