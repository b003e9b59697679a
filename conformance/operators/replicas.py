"""Copies of a tree of arguments on a device, true to how its tensors share memory.

A plain `.to(device)` of each tensor loses what operators can see: strides, offsets, several tensors over one storage,
views and their bases, conj and neg bits. The CPU's arguments are made by the same code, so both sides start alike.
Where torch's sample names the other device (`Tensor.to`), the copy names the other one too: cpu on cuda.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

_COMPRESSED = {
    torch.sparse_csr: ("crow_indices", "col_indices"),
    torch.sparse_csc: ("ccol_indices", "row_indices"),
    torch.sparse_bsr: ("crow_indices", "col_indices"),
    torch.sparse_bsc: ("ccol_indices", "row_indices"),
}


class OnHost:
    """Marks a tensor that stays on the CPU, because CUDA wants it there."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class Replicas:
    """Makes copies on one device; the same object is copied once."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.tensors: list[torch.Tensor] = []
        #: Something was put on the device.
        self.on_device = False
        self._originals: list[torch.Tensor] = []  # keeps ids valid
        self._memo: dict[int, Any] = {}
        self._storages: dict[int, torch.UntypedStorage] = {}

    def tree(self, tree: Any) -> Any:
        """A copy of a tree of tensors, devices, generators and anything else."""
        return pytree.tree_map(self._leaf, tree, is_leaf=lambda leaf: isinstance(leaf, slice))

    def _leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            self.on_device = True
            copy = self._memo.get(id(leaf))
            if copy is None:
                copy = self._memo[id(leaf)] = self.tensor(leaf)
                self._originals.append(leaf)
                self.tensors.append(copy)
            return copy
        if isinstance(leaf, OnHost):
            return leaf.tensor
        self.on_device |= isinstance(leaf, (torch.device, torch.Generator)) or (isinstance(leaf, str) and leaf == "cpu")
        if isinstance(leaf, torch.device) and leaf.type == "cpu":
            return torch.device(self.device)
        if isinstance(leaf, torch.device) and leaf.type == "cuda" and self.device == "cuda":
            return torch.device("cpu")
        if isinstance(leaf, str) and leaf == "cpu":
            return self.device
        if isinstance(leaf, str) and leaf in ("cuda", "cuda:0") and self.device == "cuda":
            return "cpu"
        if isinstance(leaf, torch.Generator):
            return torch.Generator(self.device).manual_seed(leaf.initial_seed())
        if isinstance(leaf, slice):
            return slice(self._leaf(leaf.start), self._leaf(leaf.stop), self._leaf(leaf.step))
        return leaf

    def tensor(self, original: torch.Tensor) -> torch.Tensor:
        """A leaf tensor equal to `original` in all but device."""
        with torch.no_grad():
            copy = self._copy(original)
        if isinstance(original, torch.nn.Parameter):
            return torch.nn.Parameter(copy, original.requires_grad)
        return copy.requires_grad_() if original.requires_grad else copy

    def _copy(self, original: torch.Tensor) -> torch.Tensor:
        if original.device.type == "cuda":
            return original.detach().clone() if self.device == "cpu" else original.detach().cpu()
        if original.device.type != "cpu":
            return original
        if original.layout == torch.sparse_coo:
            indices, values = self._copy(original._indices()), self._copy(original._values())
            return torch.sparse_coo_tensor(
                indices, values, original.shape, is_coalesced=original.is_coalesced(), check_invariants=False
            )
        if original.layout in _COMPRESSED:
            compressed, plain = (self._copy(getattr(original, name)()) for name in _COMPRESSED[original.layout])
            values = self._copy(original.values())
            return torch.sparse_compressed_tensor(
                compressed, plain, values, original.shape, layout=original.layout, check_invariants=False
            )
        if original.layout != torch.strided or original.is_quantized or original.is_nested:
            return original.detach().clone().to(self.device)
        if original._is_zerotensor():
            return torch._efficientzerotensor(original.shape, dtype=original.dtype, device=self.device)
        if type(original) not in (torch.Tensor, torch.nn.Parameter):
            return original.detach().clone().to(self.device)
        return self._strided(original)

    def _strided(self, original: torch.Tensor) -> torch.Tensor:
        geometry = int(original.storage_offset()), original.size(), original.stride()
        base = original._base
        if base is not None and base.dtype == original.dtype and base.layout == torch.strided:
            known = self._memo.get(id(base))
            if known is None:
                known = self._memo[id(base)] = self._over_storage(
                    base, int(base.storage_offset()), base.size(), base.stride()
                )
                self._originals.append(base)
            with torch.enable_grad():
                copy = known.detach().as_strided(geometry[1], geometry[2], geometry[0])
        else:
            copy = self._over_storage(original, *geometry)
        if original.is_conj() != copy.is_conj():
            copy = copy.conj()
        if original.is_neg() != copy.is_neg():
            copy = torch._neg_view(copy)
        return copy

    def _over_storage(self, original: torch.Tensor, offset: int, size: Any, stride: Any) -> torch.Tensor:
        storage = original.untyped_storage()
        copy = self._storages.get(storage._cdata)
        if copy is None:
            copy = torch.UntypedStorage(storage.nbytes(), device=self.device)
            if storage.nbytes():
                copy.copy_(storage)
            self._storages[storage._cdata] = copy
        return torch.empty(0, dtype=original.dtype, device=self.device).set_(copy, offset, size, stride)
