"""Models train and infer over MPS without the CPU (make test-mps); `-m tests.native.test_models` prints counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.native.counted import Counted
from tests.native.models import MODELS, make_steps
from torchdevice import _C

pytestmark = pytest.mark.skipif(_C.native_backend_name() != "mps", reason="for the MPS backend: make test-mps")

#: Of float16's GradScaler, which computes 1 / scale in float64.
SCALER = {"aten::copy_": 2, "aten::reciprocal": 1}


def fallbacks(step: Callable[[], None]) -> tuple[dict[str, int], int]:
    """Of a second step: calls on the CPU by operator, and waits for its turn."""
    step()
    with Counted() as counted:
        step()
    calls = {name: counted.calls(name)[1] for name in counted.after["operators"]}
    return {name: count for name, count in calls.items() if count}, counted["transitions"]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("model", MODELS)
def test_models_train_and_infer_without_the_cpu(model: str, half: bool) -> None:
    train, infer = make_steps(model, half)
    assert fallbacks(train)[0] == (SCALER if half else {})
    assert fallbacks(infer)[0] == {}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_attention_and_its_gradient_stay_on_the_device(dtype: torch.dtype, causal: bool) -> None:
    q, k, v = (torch.randn(2, 3, 8, 16, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3))
    with Counted() as counted:
        F.scaled_dot_product_attention(q, k, v, is_causal=causal).sum().backward()
    assert [name for name in counted.after["operators"] if counted.calls(name)[1]] == []


def test_long_sequences_are_attended_to_in_blocks_of_queries() -> None:
    torch.manual_seed(0)
    theirs = [torch.randn(1, 1, length, 8) for length in (8448, 8192, 8192)]
    mask = torch.randn(8448, 8192)
    ours = [tensor.cuda().requires_grad_() for tensor in theirs]
    for tensor in theirs:
        tensor.requires_grad_()
    for options in ({"is_causal": True}, {"attn_mask": mask}):
        expected = F.scaled_dot_product_attention(*theirs, **options)
        on_cuda = {name: value.cuda() if isinstance(value, torch.Tensor) else value for name, value in options.items()}
        result = F.scaled_dot_product_attention(*ours, **on_cuda)
        torch.testing.assert_close(result.cpu(), expected)
        gradients = (
            torch.autograd.grad(result.square().sum(), ours),
            torch.autograd.grad(expected.square().sum(), theirs),
        )
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-4)


def encoder_layer(**options: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, **options).eval()


@pytest.mark.parametrize("masked", ["none", "source", "padding"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_encoders_fast_path_is_composed(norm_first: bool, masked: str) -> None:
    layer = encoder_layer(norm_first=norm_first)
    x = torch.randn(2, 5, 16)
    masks: dict[str, dict[str, torch.Tensor]] = {
        "none": {},
        "source": {"src_mask": torch.ones(5, 5, dtype=torch.bool).triu(1)},
        "padding": {"src_key_padding_mask": torch.tensor([[False] * 5, [False] * 3 + [True] * 2])},
    }
    with torch.no_grad():
        expected = layer(x, **masks[masked])
        layer.cuda()
        on_cuda = {name: mask.cuda() for name, mask in masks[masked].items()}
        with Counted() as counted:
            result = layer(x.cuda(), **on_cuda)
    assert [name for name in counted.after["operators"] if counted.calls(name)[1]] == []
    torch.testing.assert_close(result.cpu(), expected)


@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attentions_fast_path_is_composed(need_weights: bool) -> None:
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(16, 4, batch_first=True).eval()
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        expected = attention(x, x, x, need_weights=need_weights)
        attention.cuda()
        on_cuda = x.cuda()
        with Counted() as counted:
            result = attention(on_cuda, on_cuda, on_cuda, need_weights=need_weights)
    assert [name for name in counted.after["operators"] if counted.calls(name)[1]] == []
    torch.testing.assert_close(result[0].cpu(), expected[0])
    if need_weights:
        torch.testing.assert_close(result[1].cpu(), expected[1])


@pytest.mark.parametrize("mask_type", [0, 1, 2])
def test_masked_softmax(mask_type: int) -> None:
    x = torch.randn(2, 3, 4, 4)
    shape = {0: (4, 4), 1: (2, 4), 2: (2, 3, 4, 4)}[mask_type]
    mask = torch.rand(shape) > 0.6
    mask[..., 0] = False
    expected = torch._masked_softmax(x, mask, 3, mask_type)
    torch.testing.assert_close(torch._masked_softmax(x.cuda(), mask.cuda(), 3, mask_type).cpu(), expected)
    if mask_type == 2:
        grad = torch.randn(2, 3, 4, 4)
        torch.testing.assert_close(
            torch.ops.aten._masked_softmax_backward(grad.cuda(), expected.cuda(), mask.cuda(), 3).cpu(),
            torch.ops.aten._masked_softmax_backward(grad, expected, mask, 3),
        )


def main() -> None:
    for model in MODELS:
        for half in (False, True):
            for kind, step in zip(("train", "infer"), make_steps(model, half), strict=True):
                calls, waits = fallbacks(step)
                print(
                    f"{model:5} {'float16' if half else 'float32'} {kind}: {sum(calls.values())} on the CPU, "
                    f"{waits} waits {calls or ''}"
                )


if __name__ == "__main__":
    main()
