"""The comparison that the tests of transforms share: what a function makes of cuda tensors, and what of the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map_only

SameAsCpu = Callable[..., None]


@pytest.fixture(scope="session")
def same_as_cpu() -> SameAsCpu:
    """`same_as_cpu(function, *inputs)` calls it with the inputs on the CPU and on cuda; the results must be alike."""

    def check(function: Callable[..., Any], *inputs: Any) -> None:
        expected = function(*inputs)
        result = function(*tree_map_only(torch.Tensor, lambda tensor: tensor.cuda(), inputs))
        for tensor, reference in zip(tree_leaves(result), tree_leaves(expected), strict=True):
            assert tensor.device == torch.device("cuda", 0)
            assert tensor.stride() == reference.stride()
            torch.testing.assert_close(tensor.cpu(), reference, equal_nan=True)

    return check
