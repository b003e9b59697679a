"""torch.distributed: the process group nccl, and gloo's collectives on CUDA tensors.

Some builds of torch have no torch.distributed, or no gloo, over which both work: there nothing changes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from torchdevice import _C
from torchdevice.patches import versions
from torchdevice.patches.change import Undo, add_all, all_of, set_all, unchanged


def _has_gloo() -> bool:
    return dist.is_available() and dist.is_gloo_available()


def offer_nccl() -> Undo:
    if not _has_gloo():
        return unchanged
    from torch.distributed import constants, distributed_c10d  # not importable without torch.distributed

    c10d: Any = torch._C._distributed_c10d
    groups, timeout = versions.nccl_groups(distributed_c10d), c10d._DEFAULT_PG_NCCL_TIMEOUT
    for group in groups.values():
        group.__module__ = distributed_c10d.__name__  # as torch does
    return all_of(
        add_all(dist, groups),
        add_all(distributed_c10d, groups),
        set_all(constants, {"default_pg_nccl_timeout": timeout}),
        set_all(
            distributed_c10d,
            {
                "_NCCL_AVAILABLE": True,
                "default_pg_nccl_timeout": timeout,
                "__all__": [*distributed_c10d.__all__, *groups],
            },
        ),
    )


def replace_gloos_methods() -> Undo:
    return set_all(dist.ProcessGroupGloo, _C.gloo_methods()) if _has_gloo() else unchanged
