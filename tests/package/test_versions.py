"""torchdevice/patches/versions.py against stand-ins for the releases of torch that are not installed."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from torchdevice.patches import versions


def module(**names: Any) -> Any:
    made = ModuleType("a_module_of_torchs")
    vars(made).update(names)
    return made


def test_names_of_memory() -> None:
    assert versions.private_names_of_memory(module()) == {}
    assert versions.private_names_of_memory(module(_use_uvm=1, other=2)) == {"_use_uvm": 1}


def test_the_reducer_of_events() -> None:
    assert versions.event_reducer(SimpleNamespace(reduce_event=repr)) is repr
    assert versions.event_reducer(SimpleNamespace(_reduce_event=str)) is str


def test_groups_of_nccl() -> None:
    assert list(versions.nccl_groups(module())) == ["ProcessGroupNCCL"]
    newer = versions.nccl_groups(module(_create_nccl2_process_group=None))
    assert list(newer) == ["ProcessGroupNCCL", "ProcessGroupNCCL2", "ProcessGroupNCCLLazy"]


@pytest.mark.parametrize("has_gds", [False, True])
def test_gds_is_there_as_soon_as_torch_asks(monkeypatch: pytest.MonkeyPatch, has_gds: bool) -> None:
    monkeypatch.delattr(torch._C, "_has_gds", raising=False)
    if has_gds:
        monkeypatch.setattr(torch._C, "_has_gds", False, raising=False)
    undo = versions.say_gds_is_there()
    assert getattr(torch._C, "_has_gds", "absent") == (True if has_gds else "absent")
    undo()
    assert getattr(torch._C, "_has_gds", "absent") == (False if has_gds else "absent")


def test_graphs_are_drawn_by_their_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cuda.graphs, "_dump_graph_dot", raising=False)
    versions.draw_graphs()
    assert not hasattr(torch.cuda.graphs, "_dump_graph_dot")
    monkeypatch.setattr(torch.cuda.graphs, "_dump_graph_dot", print, raising=False)
    drawn: list[Any] = []
    base = SimpleNamespace(debug_dump=lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(torch._C, "_CUDAGraph", base)
    undo = versions.draw_graphs()
    torch.cuda.graphs._dump_graph_dot("graph", "file", verbose=False)
    assert drawn == [("graph", "file")]
    undo()
    assert torch.cuda.graphs._dump_graph_dot is print
