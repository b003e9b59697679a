"""torch.use_deterministic_algorithms refuses on cuda what it refuses on a GPU, by the name of CUDA's kernel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

X = torch.arange(6.0, device="cuda").view(2, 3)
INDEX = torch.tensor([0, 1, 0], device="cuda")


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def backward(function: Callable[[torch.Tensor], torch.Tensor], *shape: int) -> Callable[[], object]:
    return lambda: function(torch.ones(shape, device="cuda", requires_grad=True)).sum().backward()


def loss_by_pixel(reduction: str) -> torch.Tensor:
    return F.nll_loss(X.new_ones(1, 2, 3, 3), INDEX.new_ones(1, 3, 3), reduction=reduction)


REFUSED: dict[str, Callable[[], object]] = {
    "median CUDA with indices output": lambda: X.median(0),
    "_histc_cuda": lambda: torch.histc(X),
    "_bincount_cuda": lambda: torch.bincount(INDEX, weights=X[0]),
    "put_": lambda: X.clone().put_(INDEX, X[0], accumulate=True),
    "index_reduce_cuda": lambda: X.clone().index_reduce_(1, INDEX, X, "prod"),
    "scatter_reduce_cuda_prod_": lambda: X.clone().scatter_reduce_(1, INDEX[None], X, "prod"),
    "nll_loss2d_forward_out_cuda_template": lambda: loss_by_pixel("mean"),
    "avg_pool3d_backward_cuda": backward(lambda x: F.avg_pool3d(x, 2), 1, 1, 4, 4, 4),
    "adaptive_avg_pool2d_backward_cuda": backward(lambda x: F.adaptive_avg_pool2d(x, 3), 1, 1, 8, 8),
    "reflection_pad1d_backward_out_cuda": backward(lambda x: F.pad(x, (1, 1), "reflect"), 1, 4),
    "upsample_linear1d_backward_out_cuda": backward(lambda x: F.interpolate(x, 8, mode="linear"), 1, 1, 4),
    "grid_sampler_2d_backward_cuda": backward(
        lambda x: F.grid_sample(x, x.new_zeros(1, 2, 2, 2), align_corners=False), 1, 1, 4, 4
    ),
    "embedding_bag_backward_cuda_max": backward(lambda w: F.embedding_bag(INDEX[None], w, mode="max"), 3, 2),
}


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    message = (
        f"{name} does not have a deterministic implementation, but you set 'torch.use_deterministic_algorithms(True)'"
    )
    with pytest.raises(RuntimeError, match=re.escape(message)):
        REFUSED[name]()


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(
    "call",
    [
        lambda: X.median(),
        lambda: torch.bincount(INDEX),
        lambda: X.clone().scatter_(1, INDEX[None], X),
        lambda: X.clone().scatter_add_(1, INDEX[None], X),
        lambda: X.clone().scatter_reduce_(1, INDEX[None], X, "sum"),
        lambda: X.clone().index_add_(1, INDEX, X),
        lambda: X.clone().index_put_((INDEX[:2],), X[:, :], accumulate=True),
        lambda: X.cumsum(0),
        lambda: X @ X.T,
        lambda: X.kthvalue(1),
        backward(lambda x: F.pad(x, (1, 1), "replicate"), 1, 4),
        lambda: loss_by_pixel("none"),
        backward(lambda w: F.embedding_bag(INDEX[None], w, mode="sum"), 3, 2),
    ],
)
def test_not_refused(call: Callable[[], object]) -> None:
    call()


@pytest.mark.parametrize("name", REFUSED)
def test_allowed_otherwise(name: str) -> None:
    REFUSED[name]()


def test_warn_only() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.warns(
            UserWarning, match="median CUDA with indices output does not have a deterministic implementation"
        ):
            assert X.median(1).values.tolist() == [1.0, 4.0]
    finally:
        torch.use_deterministic_algorithms(False)
