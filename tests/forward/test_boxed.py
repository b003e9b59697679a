"""Operators that other libraries register for the CPU run on cuda through the boxed fallback."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.cpp_extension import load

CUDA = torch.device("cuda:0")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An operator library in C++ that knows the CPU only."""
    source = Path(__file__).with_name("cpu_operator.cpp")
    load(
        name="cpu_operator",
        sources=[str(source)],
        extra_cflags=["-O0"],
        build_directory=str(tmp_path_factory.mktemp("cpu_operator")),
        is_python_module=False,
        with_cuda=False,
    )
    return torch.ops.cpu_operator


def test_functional_operator_of_a_compiled_library(library: Any) -> None:
    y = library.twice(torch.ones(3, device="cuda"))
    assert y.device == CUDA
    assert y.tolist() == [2.0] * 3


def test_in_place_operator_returns_the_callers_tensor(library: Any) -> None:
    x = torch.zeros(3, device="cuda")
    y = library.increment_(x)
    assert y.data_ptr() == x.data_ptr()
    assert x.tolist() == [1.0] * 3


def test_results_that_are_arguments_are_those_arguments(library: Any) -> None:
    a, b = torch.ones(1, device="cuda"), torch.zeros(1, device="cuda")
    second, first = library.reversed([a, b])
    assert (first.data_ptr(), second.data_ptr()) == (a.data_ptr(), b.data_ptr())
    assert first.device == second.device == CUDA


def test_an_operator_that_throws_half_way_leaves_nothing_behind(library: Any) -> None:
    x = torch.ones(3, device="cuda")
    before = torch.cuda.memory_allocated()
    with pytest.raises(ValueError, match="half-way: 3"):
        library.fails_half_way(x)
    gc.collect()
    assert torch.cuda.memory_allocated() == before
    assert (x + 1).tolist() == [2.0] * 3


def test_no_cuda_kernel_and_no_native_kernel(library: Any) -> None:
    message = (
        "Could not run 'cpu_operator::homeless' with arguments from the 'CUDA' backend: it has neither a CUDA kernel "
        "nor a cpu kernel that torchdevice could forward to. Register one of them, for instance with "
        "torch.library.impl."
    )
    with pytest.raises(NotImplementedError) as caught:
        library.homeless(torch.ones(1, device="cuda"))
    assert message in str(caught.value)


def test_devices_are_checked(library: Any) -> None:
    with pytest.raises(RuntimeError, match="found at least two devices, cuda:0 and cpu!"):
        library.reversed([torch.ones(2, device="cuda"), torch.ones(2)])


def test_python_operator_that_keeps_its_argument() -> None:
    kept: list[torch.Tensor] = []
    library = torch.library.Library("boxed_python", "DEF")
    library.define("keep(Tensor x) -> Tensor")

    def keep(x: torch.Tensor) -> torch.Tensor:
        assert x.device.type == "cpu"
        kept.append(x)
        return x * 2

    library.impl("keep", keep, "CPU")
    x = torch.ones(3, device="cuda")
    assert torch.ops.boxed_python.keep(x).tolist() == [2.0] * 3
    x.add_(1)
    address = x.data_ptr()
    del x
    gc.collect()
    # What was kept still owns the memory, and later calls do not reuse it.
    assert (torch.ones(3, device="cuda") + 5).data_ptr() != address
    assert kept[0].tolist() == [2.0] * 3
    assert kept[0].device.type == "cpu"


def test_python_operator_returning_a_view_and_its_argument() -> None:
    library = torch.library.Library("boxed_views", "DEF")
    library.define("parts(Tensor(a) x) -> (Tensor(a), Tensor(a))")
    library.impl("parts", lambda x: (x[1:], x), "CPU")
    x = torch.arange(3.0, device="cuda")
    view, same = torch.ops.boxed_views.parts(x)
    assert view.device == same.device == CUDA
    view.fill_(7)
    assert x.tolist() == [0.0, 7.0, 7.0]
    assert same.data_ptr() == x.data_ptr()


def test_python_operator_that_returns_a_cached_tensor() -> None:
    cache = torch.ones(3)
    library = torch.library.Library("boxed_cache", "DEF")
    library.define("cached(Tensor x) -> Tensor")
    library.impl("cached", lambda x: cache, "CPU")
    y = torch.ops.boxed_cache.cached(torch.ones(1, device="cuda"))
    assert y.device == CUDA
    assert cache.device.type == "cpu"
    assert cache.tolist() == y.tolist() == [1.0] * 3


def test_custom_op_with_autograd() -> None:
    @torch.library.custom_op("boxed_autograd::cube", mutates_args=(), device_types="cpu")
    def cube(x: torch.Tensor) -> torch.Tensor:
        return x**3

    cube.register_autograd(
        lambda ctx, grad: 3 * ctx.saved_tensors[0] ** 2 * grad,
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
    )
    x = torch.full((2,), 2.0, device="cuda", requires_grad=True)
    cube(x).sum().backward()
    assert x.grad is not None
    assert x.grad.device == CUDA
    assert x.grad.tolist() == [12.0, 12.0]
