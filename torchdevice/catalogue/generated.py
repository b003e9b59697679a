"""Calls for names of which torch has neither samples nor examples: a few tensors, as many as a function may take.

Whatever the CPU accepts is as good as any other call, since the same is done on cuda and compared.
"""

from __future__ import annotations

from typing import Any

import torch

#: Where a function does nothing but compute with tensors.
_PLACES = ("torch.Tensor", "torch", "torch.nn.functional", "torch.special", "torch.linalg", "torch.fft", "torch.sparse")
#: They change or tell the state of the process, wait, or read files.
_STATE = ("set_", "get_", "is_", "are_", "seed", "manual_", "initial_", "autocast_", "clear_", "init_", "fork", "wait")
#: Of a tensor: where its memory is, or what a GPU refuses as well.
_AS_ON_A_GPU = {
    "apply_", "map_", "map2_", "numpy", "pin_memory", "to_mkldnn", "data_ptr", "const_data_ptr", "storage",
    "untyped_storage", "share_memory_", "record_stream", "set_", "type", "storage_type", "mtia", "xpu", "ipu",
    "module_load",
}  # fmt: skip
#: It does not come to an end with matrices that do not suit it.
_ENDLESS = "lobpcg"
#: Kernels of other vendors, and those for the CPU alone.
_OF_OTHERS = ("miopen_", "mkldnn_", "fbgemm_", "cudnn_", "quantized_", "parse_", "import_", "sym_")


def calls(name: str) -> list[tuple[Any, ...]]:
    """Arguments to try, the likeliest first; none for names that are not called so."""
    place, _, last = name.rpartition(".")
    asks_a_tensor = place == "torch.Tensor" and last.startswith("is_")
    is_left_out = last in _AS_ON_A_GPU or last.startswith((*_STATE, *_OF_OTHERS, _ENDLESS))
    if place not in _PLACES or (is_left_out and not asks_a_tensor):
        return []
    generator = torch.Generator().manual_seed(0)
    square = torch.rand(3, 3, generator=generator) + torch.eye(3)
    picture = torch.rand(2, 3, 6, 6, generator=generator)
    numbers = torch.arange(6)
    matrices = torch.rand(2, 3, 3, generator=generator)
    sparse = square.to_sparse()
    firsts = (square, picture, numbers, matrices, sparse)
    found: list[tuple[Any, ...]] = []
    for rest in ((), ("same",), ("same", "same"), (2,), (0, 1), ([2, 1],), (0.5, False), ("same", "same", "same")):
        found += [(first, *(first if one == "same" else one for one in rest)) for first in firsts]
    return [*found, (5,)]
