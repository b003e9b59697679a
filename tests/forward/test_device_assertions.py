"""Bad indices, labels and probabilities: where CUDA's kernels assert, torch.AcceleratorError says what was wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional
from torch.torch_version import TorchVersion

from tests.conftest import RunPython

TEXT = (
    "CUDA error: device-side assert triggered\n"
    "Search for `cudaErrorAssert' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more "
    "information.\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\n"
    "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
)


def numbers(*values: float, dtype: torch.dtype | None = None) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, device="cuda")


def ones(*sizes: int) -> torch.Tensor:
    return torch.ones(sizes, device="cuda")


OUTSIDE = "index 10 is out of bounds for dimension 0 with size 5"
ROWS = "aten::embedding: index 10 is out of bounds for 5 rows"
PLACES = "index 10 is out of bounds for 5 elements of the dimension"
# Since torch 2.15 a number is filled in.
ASSIGNMENT = "aten::index_fill_" if TorchVersion(torch.__version__) >= (2, 15) else "aten::_index_put_impl_"
CLASSES = "aten::nll_loss_forward: target 10 is out of bounds for 5 classes"

CASES: dict[str, tuple[Callable[[], object], str]] = {
    "index": (lambda: ones(5)[numbers(10)], f"aten::index: {OUTSIDE}"),
    "index, negative": (
        lambda: ones(5)[numbers(-6)],
        "aten::index: index -6 is out of bounds for dimension 0 with size 5",
    ),
    "index_put": (lambda: ones(5).index_put_((numbers(10),), numbers(1.0)), f"aten::index_put_: {OUTSIDE}"),
    "assignment": (lambda: ones(5).__setitem__(numbers(10), 1.0), f"{ASSIGNMENT}: {OUTSIDE}"),
    "gather": (lambda: ones(5).gather(0, numbers(10)), f"aten::gather: {OUTSIDE}"),
    "scatter": (lambda: ones(5).scatter(0, numbers(10), 1.0), f"aten::scatter: {OUTSIDE}"),
    "scatter_add": (lambda: ones(5).scatter_add(0, numbers(10), ones(1)), f"aten::scatter_add: {OUTSIDE}"),
    "scatter_reduce": (
        lambda: ones(5).scatter_reduce(0, numbers(10), ones(1), "amax"),
        f"aten::scatter_reduce: {OUTSIDE}",
    ),
    "take_along_dim": (lambda: ones(5).take_along_dim(numbers(10)), f"aten::gather: {OUTSIDE}"),
    "index_copy": (lambda: ones(5).index_copy(0, numbers(10), ones(1)), f"aten::index_copy: index_copy_(): {OUTSIDE}"),
    "index_fill": (lambda: ones(5).index_fill(0, numbers(10), 1.0), f"aten::index_fill: {OUTSIDE}"),
    "index_select": (lambda: ones(5).index_select(0, numbers(10)), f"aten::index_select: {PLACES}"),
    "index_select, columns": (lambda: ones(2, 5).index_select(1, numbers(10)), f"aten::index_select: {PLACES}"),
    "index_add": (lambda: ones(5).index_add(0, numbers(0, 10), ones(2)), f"aten::index_add: {PLACES}"),
    "index_reduce": (
        lambda: ones(5).index_reduce(0, numbers(10), ones(1), "amax"),
        f"aten::index_reduce: {PLACES}",
    ),
    "take": (
        lambda: ones(5).take(numbers(10)),
        "aten::take: out of range: tried to access index 10 on a tensor of 5 elements.",
    ),
    "put": (
        lambda: ones(5).put(numbers(10), ones(1)),
        "aten::put: out of range: tried to access index 10 on a tensor of 5 elements.",
    ),
    "one_hot": (
        lambda: functional.one_hot(numbers(10), 5),
        "aten::scatter_: index 10 is out of bounds for dimension 1 with size 5",
    ),
    "embedding": (lambda: functional.embedding(numbers(1, 10), ones(5, 3)), ROWS),
    "embedding, negative": (
        lambda: functional.embedding(numbers(1, -1), ones(5, 3)),
        "aten::embedding: index -1 is out of bounds for 5 rows",
    ),
    "embedding, halves": (lambda: functional.embedding(numbers(10), ones(5, 3).half()), ROWS),
    "embedding, max_norm": (
        lambda: functional.embedding(numbers(10), ones(5, 3), max_norm=1.0),
        "aten::embedding_renorm_: index 10 is out of bounds for 5 rows",
    ),
    "embedding_bag": (
        lambda: functional.embedding_bag(numbers(10)[None], ones(5, 3)),
        "aten::_embedding_bag_forward_only: Index 0 of input takes value 10 which is not in the valid range [0, 5)",
    ),
    "cross_entropy": (lambda: functional.cross_entropy(ones(2, 5), numbers(1, 10)), CLASSES),
    "cross_entropy, ignored": (lambda: functional.cross_entropy(ones(3, 5), numbers(1, -100, 10)), CLASSES),
    "cross_entropy, images": (
        lambda: functional.cross_entropy(ones(1, 5, 1, 2), numbers(1, -3).view(1, 1, 2)),
        "aten::nll_loss2d_forward: target -3 is out of bounds for 5 classes",
    ),
    "nll_loss": (lambda: functional.nll_loss(ones(2, 5), numbers(1, 10), reduction="none"), CLASSES),
    "multi_margin_loss": (
        lambda: functional.multi_margin_loss(ones(2, 5), numbers(1, 10)),
        "aten::multi_margin_loss: target 10 is out of bounds for 5 classes",
    ),
    "multilabel_margin_loss": (
        lambda: functional.multilabel_margin_loss(ones(1, 3), numbers(1, 10, 0)[None]),
        "aten::multilabel_margin_loss_forward: argument #2 'target' is out of range",
    ),
    "max_unpool2d": (
        lambda: functional.max_unpool2d(ones(1, 1, 1, 2), numbers(0, 50).view(1, 1, 1, 2), 2),
        "aten::max_unpool2d: Found an invalid max index: 50 (output volumes are of size 2x4)",
    ),
    "masked_scatter": (
        lambda: ones(3).masked_scatter(ones(3).bool(), ones(2)),
        "aten::masked_scatter: Number of elements of source < number of ones in mask",
    ),
    "repeat_interleave": (
        lambda: ones(2).repeat_interleave(numbers(1, -1)),
        "aten::repeat_interleave: repeats can not be negative",
    ),
    "bernoulli": (
        lambda: torch.bernoulli(numbers(1.5)),
        "aten::bernoulli_: bernoulli_ expects p to be in [0, 1], but got p=1.5",
    ),
    "binary_cross_entropy": (
        lambda: functional.binary_cross_entropy(numbers(1.5), numbers(1.0)),
        "aten::binary_cross_entropy: all elements of input should be between 0 and 1",
    ),
    "multinomial": (
        lambda: torch.multinomial(numbers(-1.0, 2.0), 1),
        "aten::multinomial: probability tensor contains either `inf`, `nan` or element < 0",
    ),
    "multinomial with replacement": (
        lambda: torch.multinomial(numbers(0.0, 0.0), 3, replacement=True),
        "aten::multinomial: invalid multinomial distribution (sum of probabilities <= 0)",
    ),
    "poisson": (
        lambda: torch.poisson(numbers(-1.0)),
        "aten::poisson: invalid Poisson rate, expected rate to be non-negative",
    ),
    "_assert_async": (
        lambda: torch._assert_async(numbers(0)),
        "aten::_assert_async: Expected Tensor with single nonzero value, but got zero",
    ),
    "_assert_async with a message": (
        lambda: torch._assert_async(numbers(0), "all is lost"),
        "aten::_assert_async: all is lost",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_failed_assertion(name: str) -> None:
    call, detail = CASES[name]
    with pytest.raises(torch.AcceleratorError) as error:
        call()
    assert str(error.value) == TEXT + detail
    assert error.value.error_code == 710
    assert isinstance(error.value, RuntimeError)
    torch.cuda.synchronize()
    assert ones(2).sum().item() == 2


HOST: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a number as index": (lambda: ones(5)[10], IndexError, "index 10 is out of bounds for dimension 0 with size 5"),
    "too many indices": (
        lambda: ones(5)[numbers(0), numbers(0)],
        IndexError,
        "too many indices for tensor of dimension 1",
    ),
    "a dimension": (
        lambda: ones(5).gather(2, numbers(0)),
        IndexError,
        r"Dimension out of range \(expected to be in range of \[-1, 0\], but got 2\)",
    ),
    "a mask": (
        lambda: ones(5)[ones(4).bool()],
        IndexError,
        r"The shape of the mask \[4\] at index 0 does not match the shape of the indexed tensor \[5\] at index 0",
    ),
    "select": (
        lambda: ones(5).select(0, 10),
        IndexError,
        r"select\(\): index 10 out of range for tensor of size \[5\] at dimension 0",
    ),
    "bincount": (
        lambda: torch.bincount(numbers(-1)),
        RuntimeError,
        "bincount only supports 1-d non-negative integral inputs.",
    ),
}


@pytest.mark.parametrize("name", HOST)
def test_what_the_host_sees_has_its_own_error(name: str) -> None:
    call, kind, text = HOST[name]
    with pytest.raises(kind, match=f"^{text}") as error:
        call()
    assert not isinstance(error.value, torch.AcceleratorError)


def test_a_blocking_launch_does_not_speak_of_others(run_python: RunPython) -> None:
    code = """
    import torch
    try:
        torch.ones(5, device="cuda")[torch.tensor([7], device="cuda")]
    except torch.AcceleratorError as error:
        print(error)
    """
    first, second, *rest = run_python(code, CUDA_LAUNCH_BLOCKING="1").stdout.splitlines()
    assert first == "CUDA error: device-side assert triggered"
    assert second.startswith("Search for `cudaErrorAssert'")
    assert rest == ["aten::index: index 7 is out of bounds for dimension 0 with size 5"]


def test_deviations_below_zero() -> None:
    """The host looks at them; since torch 2.14 the device asserts that there are none."""
    with pytest.raises(RuntimeError, match=r"(^|: )normal expects all elements of std >= 0\.0$"):
        torch.normal(ones(2), numbers(1.0, -1.0))
