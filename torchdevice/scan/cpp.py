"""Sources in CUDA C++, and C++ that includes CUDA's headers."""

from __future__ import annotations

import re
from collections.abc import Iterator

_COMMENT_OR_TEXT = re.compile(r'//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\\n])*")', re.DOTALL)
_INCLUDE = re.compile(r'\s*#\s*include\s*[<"]([^>"]+)[>"]')
_CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|endif)\b\s*(.*)")
_HEADER = re.compile(
    r"(?:cuda|cuda_\w+|device_launch_parameters|cu(?:blas|dnn|fft|rand|solver|sparse)\w*|nccl|nvrtc|nvToolsExt)\.h"
    r"|(?:thrust|cub|cutlass|cute|cooperative_groups|cooperative_groups/.*|ATen/cuda/.*|c10/cuda/.*"
    r"|torch/csrc/cuda/.*|ATen/native/cuda/.*)(?:[./].*)?"
)
_KERNEL = re.compile(r"\b__global__\b|<<<")


def find(text: str, suffix: str) -> Iterator[tuple[str, int, str, str | None]]:
    """(the rule's id, line, what, guard): the first kernel of CUDA C++, else the first header of CUDA's."""
    text = _COMMENT_OR_TEXT.sub(lambda match: match[1] or "\n" * match[0].count("\n"), text)
    lines = text.splitlines()
    if suffix in (".cu", ".cuh"):
        kernels = [number for number, line in enumerate(lines, 1) if _KERNEL.search(line)]
        if kernels or suffix == ".cu":
            number = kernels[0] if kernels else 1
            yield "cuda-source", number, lines[number - 1].strip()[:60] if lines else "", None
        return
    found = [(number, header, guard) for number, header, guard in _includes(lines) if _HEADER.fullmatch(header)]
    for number, header, guard in sorted(found, key=lambda one: one[2] is not None)[:1]:
        yield "cuda-header", number, f"#include <{header}>", guard


def _includes(lines: list[str]) -> Iterator[tuple[int, str, str | None]]:
    """(line, header, the condition around it); the include guard of a header is none."""
    conditions: list[str | None] = []
    for number, line in enumerate(lines, 1):
        condition = _CONDITION.match(line)
        if condition is not None and condition[1] == "endif":
            conditions[-1:] = []
        elif condition is not None:
            is_include_guard = condition[1] == "ifndef" and not conditions and _defines(lines[number:], condition[2])
            conditions.append(None if is_include_guard else f"#{condition[1]} {condition[2].strip()}, line {number}")
        include = _INCLUDE.match(line)
        if include is not None:
            yield number, include[1], next((one for one in reversed(conditions) if one is not None), None)


def _defines(following: list[str], name: str) -> bool:
    return any(re.match(rf"\s*#\s*define\s+{re.escape(name.strip())}\b", line) for line in following[:2])
