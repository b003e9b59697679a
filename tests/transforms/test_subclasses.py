"""Wrapper subclasses over cuda tensors, as quantization libraries write them."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten


class Int8Weight(Tensor):
    """A matrix as int8 values with one scale a row."""

    int_data: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, int_data: Tensor, scale: Tensor) -> Int8Weight:
        return Tensor._make_wrapper_subclass(
            cls, int_data.shape, strides=int_data.stride(), dtype=scale.dtype, device=int_data.device
        )

    def __init__(self, int_data: Tensor, scale: Tensor) -> None:
        self.int_data, self.scale = int_data, scale

    @classmethod
    def quantize(cls, weight: Tensor) -> Int8Weight:
        scales = weight.abs().amax(1) / 127
        return cls((weight / scales[:, None]).round().to(torch.int8), scales)

    def dequantize(self) -> Tensor:
        return self.int_data.to(self.scale.dtype) * self.scale[:, None]

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["int_data", "scale"], None

    @classmethod
    def __tensor_unflatten__(cls, parts: dict[str, Tensor], _: None, size: Any, stride: Any) -> Int8Weight:
        return cls(parts["int_data"], parts["scale"])

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear:
            return Linear.apply(*args)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        weight = args[0]
        if func in (aten.detach.default, aten.clone.default, aten.alias.default):
            result = cls(func(weight.int_data), func(weight.scale))
            return return_and_correct_aliasing(func, args, kwargs, result)
        if func is aten._to_copy.default:
            device = kwargs.get("device")
            return cls(weight.int_data.to(device), weight.scale.to(device, kwargs.get("dtype")))
        if func is aten.copy_.default:
            source = args[1] if isinstance(args[1], cls) else cls.quantize(args[1])
            weight.int_data.copy_(source.int_data)
            weight.scale.copy_(source.scale)
            return weight
        if func is aten.empty_like.default:
            return cls(torch.empty_like(weight.int_data, **kwargs), torch.empty_like(weight.scale, **kwargs))
        plain = tree_map_only(cls, cls.dequantize, (args, kwargs))
        return func(*plain[0], **plain[1])


class Linear(torch.autograd.Function):
    """x @ weight.T by the int8 values; the weight gets no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Int8Weight, bias: Tensor | None = None) -> Tensor:
        ctx.weight = weight
        y = x @ weight.int_data.to(x.dtype).t() * weight.scale
        return y if bias is None else y + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        return gradient @ ctx.weight.dequantize(), None, gradient.flatten(0, -2).sum(0)


def quantized(device: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    model.to(device)
    for layer in (model[0], model[2]):
        layer.weight = torch.nn.Parameter(Int8Weight.quantize(layer.weight.detach()), requires_grad=False)
    return model


def inner_devices(model: torch.nn.Module) -> set[str]:
    return {
        part.device.type for p in model.parameters() if isinstance(p.data, Int8Weight) for part in (p.int_data, p.scale)
    }


X = torch.linspace(-1, 1, 12).view(3, 4)


def test_a_quantized_model_is_the_cpus() -> None:
    results = {}
    for device in ("cpu", "cuda"):
        model, x = quantized(device), X.to(device).detach().requires_grad_()
        y = model(x)
        y.square().sum().backward()
        assert y.device.type == device
        results[device] = [y.detach().cpu(), x.grad.cpu(), model[0].bias.grad.cpu()]
    torch.testing.assert_close(results["cuda"], results["cpu"])


@pytest.mark.parametrize("swap", [False, True])
def test_a_module_moves(swap: bool) -> None:
    torch.__future__.set_swap_module_params_on_conversion(swap)
    try:
        model = quantized("cpu")
        expected = model(X)
        model.to("cuda")
        assert inner_devices(model) == {"cuda"}
        assert isinstance(model[0].weight, torch.nn.Parameter)
        torch.testing.assert_close(model(X.cuda()).cpu(), expected)
        assert inner_devices(model.cpu()) == {"cpu"}
        assert torch.equal(model(X), expected)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.parametrize("assign", [False, True])
def test_state_dicts(assign: bool) -> None:
    source, target = quantized("cuda"), quantized("cuda")
    with torch.no_grad():
        target[0].weight.copy_(torch.ones(8, 4, device="cuda"))
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    with torch.serialization.safe_globals([Int8Weight]):
        loaded = torch.load(file, map_location="cpu" if assign else None, weights_only=False)
    assert type(loaded["0.weight"]) is Int8Weight
    target.load_state_dict(loaded, assign=assign)
    assert inner_devices(target) == {"cpu" if assign else "cuda"}
    torch.testing.assert_close(target.cuda()(X.cuda()), source(X.cuda()))


def test_copies_share_nothing() -> None:
    weight = Int8Weight.quantize(torch.randn(3, 4, device="cuda"))
    for other in (copy.deepcopy(weight), weight.clone(), pickle.loads(pickle.dumps(weight))):
        assert type(other) is Int8Weight
        assert torch.equal(other.dequantize(), weight.dequantize())
        assert other.int_data.data_ptr() != weight.int_data.data_ptr()
    assert weight.detach().int_data.data_ptr() == weight.int_data.data_ptr()


def test_the_rest_dequantizes() -> None:
    weight = Int8Weight.quantize(torch.randn(3, 4, device="cuda"))
    assert weight.device == torch.device("cuda", 0)
    assert weight.is_cuda
    assert torch.equal(weight + 1, weight.dequantize() + 1)
    assert torch.equal(
        torch.mm(weight, torch.ones(4, 2, device="cuda")), weight.dequantize() @ torch.ones(4, 2, device="cuda")
    )


def test_torch_compile() -> None:
    model = quantized("cuda")
    x = X.cuda()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model)(x), model(x))


class Wrapped(Tensor):
    """A wrapper that passes every operator on."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapped:
        return Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=inner.device,
            requires_grad=inner.requires_grad,
        )  # fmt: skip

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(cls, lambda wrapper: wrapper.inner, (args, kwargs or {}))
        return tree_map_only(Tensor, cls, func(*args, **kwargs))


def test_autograd_through_a_wrapper() -> None:
    x = Wrapped(torch.randn(3, 4, device="cuda")).requires_grad_()
    (x.sin() @ x.t()).sum().backward()
    inner = x.inner.clone().requires_grad_()
    (inner.sin() @ inner.t()).sum().backward()
    assert type(x.grad) is Wrapped
    torch.testing.assert_close(x.grad.inner, inner.grad)


def test_a_wrapper_of_another_device_than_its_data() -> None:
    """As offloading libraries have them: a tensor that says cuda, over data on the CPU."""
    inner = torch.ones(3)
    wrapper = Tensor._make_wrapper_subclass(Wrapped, inner.shape, dtype=inner.dtype, device="cuda:0")
    wrapper.inner = inner
    assert wrapper.device == torch.device("cuda", 0)
    assert (wrapper + 1).inner.tolist() == [2.0, 2.0, 2.0]


class Tagged(Tensor):
    """A subclass over its own storage (_make_subclass) that unwraps itself in __torch_dispatch__."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C._DisableTorchDispatch():
            return func(*args, **(kwargs or {}))


def test_a_subclass_over_its_own_storage() -> None:
    x = Tensor._make_subclass(Tagged, torch.arange(3.0, device="cuda"))
    assert (type(x), type(x + 1), (x + 1).tolist()) == (Tagged, Tensor, [1.0, 2.0, 3.0])
    assert torch.nn.functional.linear(torch.ones(1, 3, device="cuda"), x[None]).tolist() == [[3.0]]
