"""ProcessGroupNCCL2 and ProcessGroupNCCLLazy: torch 2.14's names, and what "nccl" means from 2.15 on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

c10d: Any = torch._C._distributed_c10d
KNOWN = hasattr(dist.distributed_c10d, "_create_nccl2_process_group")


@pytest.mark.parametrize(("name", "backend"), [("ProcessGroupNCCL2", "nccl2"), ("ProcessGroupNCCLLazy", "nccl-lazy")])
def test_a_group_of_one(name: str, backend: str) -> None:
    options = dist.ProcessGroupNCCL.Options()
    group = getattr(c10d, name)(dist.HashStore(), 0, 1, options, torch.device("cuda", 0))
    assert group.name() == backend
    assert group.options is options
    x = torch.ones(3, device="cuda")
    group.allreduce([x]).wait()
    assert x.tolist() == [1, 1, 1]
    if hasattr(c10d.Backend, "split"):  # since 2.14
        part = group.split(dist.HashStore(), [0], dist.ProcessGroupNCCL.Options())
        assert type(part) is type(group)


def test_options_are_those_of_nccl() -> None:
    assert c10d.ProcessGroupNCCL2.Options is dist.ProcessGroupNCCL.Options
    assert c10d.ProcessGroupNCCL2.__mro__[1] is c10d.Backend
    assert c10d.ProcessGroupNCCLLazy(dist.HashStore(), 0, 1)._num_active_channels() == 0


def test_torch_is_offered_what_it_knows() -> None:
    offered = {name for name in vars(dist) if name.startswith("ProcessGroupNCCL")}
    newer = {"ProcessGroupNCCL2", "ProcessGroupNCCLLazy"} if KNOWN else set()
    assert offered == {"ProcessGroupNCCL"} | newer
