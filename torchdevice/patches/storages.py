"""Storages and tensor types of device cuda, and what torch.multiprocessing sends of them to other processes.

The table in patches/__init__.py says why each is changed.
"""

from __future__ import annotations

from multiprocessing import reduction

import torch
from torch.multiprocessing import reductions

from torchdevice import _C
from torchdevice.patches import versions
from torchdevice.patches.change import Undo, set_all


def register_event_reducer() -> Undo:
    event = torch.cuda.Event
    reduction.register(event, versions.event_reducer(reductions))

    def restore() -> None:
        reduction.ForkingPickler._extra_reducers.pop(event, None)  # type: ignore[attr-defined]

    return restore


def install_storages() -> Undo:
    _C.install_storages()
    return _C.uninstall_storages


def share() -> Undo:
    return set_all(
        torch.UntypedStorage,
        {
            "_share_cuda_": _C.share_cuda,
            "_new_shared_cuda": _C.new_shared_cuda,
            "_release_ipc_counter_cuda": _C.release_ipc_counter_cuda,
        },
    )


def install_tensor_types() -> Undo:
    _C.install_tensor_types()
    return _C.uninstall_tensor_types


def take_default_tensor_types() -> Undo:
    return set_all(torch._C, {"_set_default_tensor_type": _C.set_default_tensor_type})
