"""Operators that MPS lacks and others make up for: values and gradients are the CPU's (make test-mps)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.conftest import RunPython
from tests.native.counted import Counted
from torchdevice import _C

pytestmark = pytest.mark.skipif(_C.native_backend_name() != "mps", reason="for the MPS backend: make test-mps")

Call = Callable[[torch.Tensor], torch.Tensor]


def int32(*values: int, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32, device=like.device)


CALLS: dict[str, Call] = {
    "per tensor": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 3, 0, 20),
    "per tensor, of tensors": lambda x: torch.fake_quantize_per_tensor_affine(
        x, torch.full((1,), 0.1, device=x.device), int32(3, like=x), 0, 20
    ),
    "per channel": lambda x: torch.fake_quantize_per_channel_affine(
        x, torch.tensor([0.1, 0.25, 0.3], device=x.device), int32(0, 5, 9, like=x), 1, -4, 20
    ),
    "per channel, zero points that are no integers": lambda x: torch.fake_quantize_per_channel_affine(
        x, torch.tensor([0.1, 0.25, 0.3], device=x.device), torch.tensor([0.5, 1, 2], device=x.device), 1, -4, 20
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_fake_quantization(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5)
    theirs, ours = x.clone().requires_grad_(), x.cuda().requires_grad_()
    expected = CALLS[name](theirs)
    expected.square().sum().backward()
    CALLS[name](ours)
    with Counted() as counted:
        result = CALLS[name](ours)
        result.square().sum().backward()
    assert [name for name in counted.after["operators"] if counted.calls(name)[1]] == []
    torch.testing.assert_close(result.cpu(), expected)
    assert theirs.grad is not None
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.cpu(), theirs.grad)


def test_quantization_that_is_switched_off() -> None:
    x = torch.randn(3, device="cuda")
    one, off = torch.ones(1, device="cuda"), torch.zeros(1, dtype=torch.int64, device="cuda")
    output, mask = torch._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(x, one, int32(0, like=x), off, 0, 1)
    assert torch.equal(output, x)
    assert mask.all()


@pytest.mark.parametrize("arguments", [(0.1, 3, 5, 4), (0.1, 9, 0, 4)])
def test_errors_are_the_cpus(arguments: tuple[float, int, int, int]) -> None:
    texts = []
    for device in ("cpu", "cuda"):
        with pytest.raises(RuntimeError) as raised:
            torch.fake_quantize_per_tensor_affine(torch.ones(2, device=device), *arguments)
        texts.append(str(raised.value).splitlines()[0])
    assert texts[0] == texts[1]


def test_what_the_user_sends_to_the_cpu_is_not_composed(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from torchdevice import _C
        torch.fake_quantize_per_tensor_affine(torch.ones(2, device="cuda"), 0.1, 3, 0, 20)
        counts = _C.fallback_counts()["operators"]
        assert counts["aten::fake_quantize_per_tensor_affine_cachemask"] == (0, 1)
        """,
        TORCHDEVICE_FORCE_CPU_OPS="fake_quantize_per_tensor_affine_cachemask",
    )
