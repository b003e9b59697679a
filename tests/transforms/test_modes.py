"""Modes and overrides that see every call on cuda: dispatch modes, function modes, __torch_function__, flop counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode


class Operators(TorchDispatchMode):
    """Keeps names of the operators and the devices of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.devices: set[torch.device] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.append(func._schema.name.removeprefix("aten::"))
        self.devices |= {leaf.device for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        return result


def steps(device: str) -> Operators:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
    model.to(device)
    x = torch.ones(3, 4, device=device)
    with Operators() as seen:
        torch.nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 1], device=device)).backward()
        torch.optim.SGD(model.parameters(), lr=0.1, foreach=False).step()
    return seen


def test_a_dispatch_mode_sees_what_it_sees_on_the_cpu() -> None:
    assert steps("cuda").names == steps("cpu").names


def test_a_dispatch_mode_sees_no_alias() -> None:
    assert steps("cuda").devices <= {torch.device("cuda", 0), torch.device("cpu")}
    with Operators() as seen:
        torch.ones(3, device="cuda").sort()[0].add_(1).view(1, 3).T.contiguous().matmul(torch.ones(1, 1, device="cuda"))
    assert seen.devices == {torch.device("cuda", 0)}


def test_a_dispatch_mode_changes_results() -> None:
    class Doubled(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return tree_map_only(Tensor, lambda tensor: tensor * 2, func(*args, **(kwargs or {})))

    x = torch.ones(2, device="cuda")
    with Doubled():
        y = x + x
    assert y.tolist() == [4.0, 4.0]


def test_a_function_mode_sees_python_calls() -> None:
    class Calls(TorchFunctionMode):
        def __init__(self) -> None:
            self.names: list[str] = []

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Calls() as seen:
        torch.ones(2, device="cuda").cuda().add(1).is_cuda  # noqa: B018
    assert seen.names == ["ones", "cuda", "add", "__get__"]


def test_default_device() -> None:
    with torch.device("cuda"):
        made = [torch.ones(2), torch.tensor([1]), torch.randn(3), torch.arange(2), torch.nn.Linear(2, 2).weight]
    assert {tensor.device for tensor in made} == {torch.device("cuda", 0)}


class Logged(Tensor):
    """A subclass by __torch_function__ alone."""

    names: list[str] = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.names.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


def test_a_subclass_by_torch_function() -> None:
    x = torch.ones(2, 2, device="cuda").as_subclass(Logged)
    Logged.names.clear()
    y = (x + 1).matmul(torch.ones(2, 2, device="cuda"))
    assert (type(y), y.device.type, Logged.names[:2]) == (Logged, "cuda", ["add", "matmul"])
    assert type(x.cpu()) is Logged
    assert type(torch.nn.Parameter(x)) is Logged


def test_flops() -> None:
    q = torch.ones(2, 4, 8, 16, device="cuda", requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.scaled_dot_product_attention(q, q, q).sum().backward()
        torch.nn.functional.conv2d(q, torch.ones(3, 4, 3, 3, device="cuda"))
    attention = 2 * 2 * 2 * 4 * 8 * 8 * 16
    assert counter.get_total_flops() == attention + attention * 5 // 2 + 2 * 2 * 3 * 6 * 14 * 4 * 9
