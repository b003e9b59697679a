"""What differs between the supported releases of torch, 2.12 to 2.15, in the names of its Python.

Nothing else of torchdevice asks for it. A difference is told by the name itself, not by the number of the release: so a
release that nobody knew of works as long as its names are known. Its counterpart in C++ is csrc/versions/Versions.h.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from torchdevice.patches.change import Undo, set_all, unchanged

#: torch's stubs do not list all of their names.
_names: Any = torch._C


def private_names_of_memory(memory: ModuleType) -> dict[str, Any]:
    """What torch.cuda imports of torch.cuda.memory beside its public names: nothing before 2.13."""
    return {name: getattr(memory, name) for name in ("_use_uvm",) if hasattr(memory, name)}


def event_reducer(reductions: Any) -> Callable[[Any], Any]:
    """How torch.multiprocessing sends an event: private since 2.15."""
    reducer: Callable[[Any], Any] = (
        reductions._reduce_event if hasattr(reductions, "_reduce_event") else reductions.reduce_event
    )
    return reducer


def nccl_groups(distributed_c10d: Any) -> dict[str, Any]:
    """The process groups of NCCL that torch.distributed knows: since 2.14 three, and 2.15's default is the second."""
    names = ["ProcessGroupNCCL"]
    if hasattr(distributed_c10d, "_create_nccl2_process_group"):
        names += ["ProcessGroupNCCL2", "ProcessGroupNCCLLazy"]
    return {name: getattr(_names._distributed_c10d, name) for name in names}


def say_gds_is_there() -> Undo:
    """Since 2.14 torch.cuda.gds.is_available() asks how torch was built; before, whether the functions are there."""
    return set_all(torch._C, {"_has_gds": True}) if hasattr(torch._C, "_has_gds") else unchanged


def draw_graphs() -> Undo:
    """Since 2.14 CUDAGraph.debug_dump() and torch.cuda.graphs.export_dot() are Python's, and ask CUDA to draw."""
    graphs: Any = torch.cuda.graphs
    if not hasattr(graphs, "_dump_graph_dot"):
        return unchanged

    def dump(cuda_graph: Any, path: str, *, verbose: bool = True) -> None:
        _names._CUDAGraph.debug_dump(cuda_graph, path)

    return set_all(graphs, {"_dump_graph_dot": dump})
