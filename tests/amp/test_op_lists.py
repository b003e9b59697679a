"""Every operator of autocast's lists for cuda, against torch's own rules in torch/testing/_internal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.testing._internal.autocast_test_lists import AutocastTestLists
from torch.utils import _pytree as pytree

#: cuDNN's own entry points, which a build without cuDNN lacks too; and einsum, whose entry in torch's list cannot be
#: called: it has a test of its own.
LEFT_OUT = {"cudnn_convolution", "cudnn_convolution_transpose", "einsum"}

LISTS = {
    "torch_fp16": (torch, torch.float16),
    "torch_fp32": (torch, torch.float32),
    "torch_need_autocast_promote": (torch, torch.float32),
    "torch_expect_builtin_promote": (torch, torch.float32),
    "nn_fp16": (torch._C._nn, torch.float16),
    "nn_fp32": (torch._C._nn, torch.float32),
    "linalg_fp16": (torch._C._linalg, torch.float16),
    "methods_fp16": (None, torch.float16),
    "methods_fp32": (None, torch.float32),
    "methods_expect_builtin_promote": (None, torch.float32),
}


@pytest.fixture(scope="module")
def lists() -> AutocastTestLists:
    torch.manual_seed(0)
    return AutocastTestLists(torch.device("cuda:0"))


def tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def cast(value: Any, dtype: torch.dtype) -> Any:
    return pytree.tree_map(
        lambda leaf: leaf.to(dtype) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf, value
    )


def calls(module: Any, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Iterator[Any]:
    """The operator's result as a function of its module, and as a method."""
    if module is not None and hasattr(module, name):
        yield getattr(module, name)(*arguments, **options)
    if isinstance(arguments[0], torch.Tensor) and hasattr(torch.Tensor, name):
        yield getattr(arguments[0], name)(*arguments[1:], **options)


@pytest.mark.parametrize("name", LISTS)
def test_operators_run_in_the_type_of_their_list(lists: AutocastTestLists, name: str) -> None:
    module, dtype = LISTS[name]
    checked = 0
    for entry in getattr(lists, name):
        operator, arguments, rest = entry[0], tuple(entry[1]), entry[2:]
        if operator in LEFT_OUT:
            continue
        options = next((item for item in rest if isinstance(item, dict)), {})
        expected = next((item for item in rest if isinstance(item, torch.dtype)), dtype)
        with torch.autocast("cuda"):
            results = list(calls(module, operator, arguments, options))
            with torch.autocast("cuda", enabled=False):
                control = list(calls(module, operator, cast(arguments, dtype), options))
        assert results, operator
        for result, by_hand in zip(results, control, strict=True):
            if isinstance(result, torch.Tensor):
                assert (operator, result.dtype, result.device.type) == (operator, expected, "cuda")
            for a, b in zip(tensors(result), tensors(by_hand), strict=True):
                torch.testing.assert_close(a, b.to(a.dtype), equal_nan=True, msg=lambda m, o=operator: f"{o}: {m}")  # type: ignore[misc]
        checked += 1
    assert checked == sum(entry[0] not in LEFT_OUT for entry in getattr(lists, name))


def test_banned_operators_say_what_to_use(lists: AutocastTestLists) -> None:
    for name, arguments, module in lists.banned:
        with torch.autocast("cuda"), pytest.raises(RuntimeError, match=r"are unsafe to autocast\."):
            getattr(module, name)(*arguments)
        with torch.autocast("cuda", enabled=False):
            getattr(module, name)(*cast(arguments, torch.float32))


def test_einsum_runs_in_half() -> None:
    x = torch.randn(2, 3, 4, 5, device="cuda")
    with torch.autocast("cuda"):
        assert torch.einsum("bkhd,bqhd->bqkh", x, x).dtype is torch.float16


def test_regions_nest_and_casts_are_cached_within_the_outermost() -> None:
    x, weight = torch.randn(2, 4, device="cuda"), torch.randn(4, 4, device="cuda", requires_grad=True)
    with torch.autocast("cuda", dtype=torch.float16):
        assert torch.is_autocast_cache_enabled()
        first = x @ weight
        with torch.autocast("cuda", dtype=torch.bfloat16):
            assert (x @ weight.detach()).dtype is torch.bfloat16
        with torch.autocast("cuda", enabled=False):
            assert (x @ weight).dtype is torch.float32
        with torch.no_grad():
            assert (x @ weight).dtype is torch.float16
        second = x @ weight
    (gradient,) = torch.autograd.grad((first + second).float().sum(), weight)
    assert (gradient.dtype, gradient.shape) == (torch.float32, weight.shape)
    # One cached cast of the leaf serves both products: their graphs meet in one node.
    casts = {first.grad_fn.next_functions[1][0], second.grad_fn.next_functions[1][0]}
    assert len(casts) == 1
    with torch.autocast("cuda", cache_enabled=False):
        a, b = x @ weight, x @ weight
    assert a.grad_fn.next_functions[1][0] is not b.grad_fn.next_functions[1][0]
    assert not torch.is_autocast_enabled("cuda")


def test_entry_points() -> None:
    assert torch.amp.is_autocast_available("cuda")
    assert not torch.cuda.amp.common.amp_definitely_not_available()
    x = torch.randn(2, 2, device="cuda")
    with pytest.warns(FutureWarning, match=r"torch\.cuda\.amp\.autocast\(args\.\.\.\)` is deprecated"):
        region = torch.cuda.amp.autocast(dtype=torch.bfloat16)
    with region:
        assert (x @ x).dtype is torch.bfloat16
    with pytest.warns(FutureWarning, match=r"torch\.cuda\.amp\.GradScaler\(args\.\.\.\)` is deprecated"):
        scaler = torch.cuda.amp.GradScaler()
    assert scaler.is_enabled()
    assert scaler.scale(x).device == x.device

    @torch.autocast("cuda")
    def product(a: torch.Tensor) -> torch.Tensor:
        return a @ a

    assert product(x).dtype is torch.float16


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (kind, options)
        for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
        for options in ({}, {"foreach": True}, {"fused": True}, {"capturable": True})
        if not (kind is torch.optim.SGD and "capturable" in options)
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else ",".join(value) or "plain",
)
def test_scaled_training_equals_unscaled(kind: Any, options: dict[str, bool]) -> None:
    def train(scaled: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 3).cuda()
        optimizer = kind(model.parameters(), lr=0.1, **options)
        scaler = torch.amp.GradScaler("cuda", enabled=scaled, init_scale=1024.0)
        x = torch.randn(5, 4, device="cuda")
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(model(x).pow(2).mean()).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
        return model.weight.detach()

    torch.testing.assert_close(train(scaled=True), train(scaled=False))


def test_one_scaler_for_several_optimizers_and_its_state() -> None:
    weights = [torch.nn.Parameter(torch.ones(2, device="cuda")) for _ in range(2)]
    optimizers = [torch.optim.SGD([weight], lr=1.0) for weight in weights]
    scaler = torch.amp.GradScaler("cuda", init_scale=4.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=1)
    scaler.scale(weights[0].sum() + weights[1].sum() * float("inf")).backward()
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    assert [weight.tolist() for weight in weights] == [[0, 0], [1, 1]]
    assert scaler.get_scale() == 2.0
    again = torch.amp.GradScaler("cuda")
    again.load_state_dict(scaler.state_dict())
    assert (again.get_scale(), again.get_growth_interval(), again.state_dict()) == (2.0, 1, scaler.state_dict())
    scaler.unscale_(optimizers[0])
    with pytest.raises(RuntimeError, match=r"^unscale_\(\) has already been called on this optimizer since the last"):
        scaler.unscale_(optimizers[0])
