"""Products of float32 matrices on cuda stay at least as exact as TF32."""

from __future__ import annotations

from typing import Any

import torch

from torchdevice.patches.change import Undo, set_all

#: torch's stubs do not list all of their names.
_names: Any = torch._C


def keep_products_exact() -> Undo:
    """Precision "medium" means TF32 to CUDA, and bfloat16, which is eight times as coarse, to oneDNN."""
    original = _names._set_float32_matmul_precision

    def _set_float32_matmul_precision(precision: str) -> None:
        original(precision)
        if _names._get_fp32_precision_getter("mkldnn", "matmul") == "bf16":
            _names._set_fp32_precision_setter("mkldnn", "matmul", "ieee")

    return set_all(torch._C, {"_set_float32_matmul_precision": _set_float32_matmul_precision})
