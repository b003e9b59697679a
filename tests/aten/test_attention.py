"""scaled_dot_product_attention on cuda: CUDA's choice of kernels, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode


class Operators(TorchDispatchMode):
    """Names of the operators that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def inputs(device: str, head: int = 16) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 8, head, generator=generator).to(device).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("head", [16, 12, 5])
@pytest.mark.parametrize("masked", ["none", "causal", "bool", "float"])
def test_equals_the_cpu(masked: str, head: int) -> None:
    results = {}
    for device in ("cpu", "cuda"):
        q, k, v = inputs(device, head)
        mask = None
        if masked == "bool":
            mask = torch.ones(8, 8, dtype=torch.bool, device=device).tril()
        if masked == "float":
            mask = torch.linspace(-1, 1, 64, device=device).view(8, 8)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=masked == "causal")
        y.square().sum().backward()
        results[device] = [t.detach().cpu() for t in (y, q.grad, k.grad, v.grad)]
    for ours, reference in zip(results["cuda"], results["cpu"], strict=True):
        torch.testing.assert_close(ours, reference)


def chosen(*tensors: torch.Tensor, **options: object) -> str:
    """The fused kernel that ran, or "math"."""
    with Operators() as ran, torch.no_grad():
        F.scaled_dot_product_attention(*tensors, **options)
    fused = [name for name in ran.names if name.startswith("aten::_scaled_dot_product_") and "math" not in name]
    return fused[0].removeprefix("aten::_scaled_dot_product_").removesuffix("_attention") if fused else "math"


def test_chooses_as_on_a_gpu() -> None:
    """By the conditions of torch's cuda/sdp_utils.cpp on sm80; they were not compared with a GPU."""
    single = inputs("cuda")
    half = [t.half() for t in single]
    assert chosen(*half, is_causal=True) == "flash"
    assert chosen(*half, dropout_p=0.1) == "flash"
    assert chosen(*single) == "efficient"
    assert chosen(*half, attn_mask=torch.ones(8, 8, device="cuda", dtype=torch.bool)) == "efficient"
    assert chosen(half[0], half[1][:, :, :5], half[2][:, :, :5], is_causal=True) == "efficient"
    assert chosen(*[t.double() for t in single]) == "math"
    assert chosen(*inputs("cuda", head=5)) == "math"
    assert chosen(single[0], single[1][:, :1], single[2][:, :1], enable_gqa=True) == "math"
    assert chosen(half[0], half[1][:, :1], half[2][:, :1], enable_gqa=True) == "flash"


BACKENDS = {
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "efficient",
    SDPBackend.CUDNN_ATTENTION: "cudnn",
    SDPBackend.MATH: "math",
}


@pytest.mark.parametrize("case", ["plain", "causal", "mask", "grouped"])
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_each_kernel_can_be_asked_for(backend: SDPBackend, case: str) -> None:
    q, k, v = (t.detach().bfloat16() for t in inputs("cuda"))
    if case == "grouped":
        k, v = k[:, :1], v[:, :1]
    mask = torch.ones(8, 8, device="cuda", dtype=torch.bool).tril() if case == "mask" else None
    options = {"attn_mask": mask, "is_causal": case == "causal", "enable_gqa": case == "grouped"}
    unsupported = {("mask", "flash"), ("grouped", "efficient")}
    with sdpa_kernel(backend):
        if (case, BACKENDS[backend]) in unsupported:
            with (
                pytest.warns(UserWarning, match="kernel not used because"),
                pytest.raises(RuntimeError, match="No available kernel. Aborting execution."),
            ):
                F.scaled_dot_product_attention(q, k, v, **options)
            return
        assert chosen(q, k, v, **options) == BACKENDS[backend]
        leaves = [t.clone().requires_grad_() for t in (q, k, v)]
        y = F.scaled_dot_product_attention(*leaves, **options)
        y.float().square().sum().backward()
    reference = [t.float().requires_grad_() for t in (q, k, v)]
    with sdpa_kernel(SDPBackend.MATH):
        expected = F.scaled_dot_product_attention(*reference, **options)
    expected.square().sum().backward()
    torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=2e-2)
    for ours, theirs in zip(leaves, reference, strict=True):
        torch.testing.assert_close(ours.grad.float(), theirs.grad, rtol=5e-2, atol=5e-2)


def test_a_kernel_that_does_not_fit_is_refused_with_its_reason() -> None:
    """The texts are those of torch's sdp_utils.cpp; they were not compared with a GPU."""
    with (
        sdpa_kernel(SDPBackend.FLASH_ATTENTION),
        pytest.warns(UserWarning, match=r"Expected query, key and value to all be of dtype: \{Half, BFloat16\}"),
        pytest.raises(RuntimeError, match="No available kernel. Aborting execution."),
    ):
        F.scaled_dot_product_attention(*inputs("cuda"))


@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION], ids=lambda b: b.name)
def test_dropout_of_fused_kernels_has_its_gradient(backend: SDPBackend) -> None:
    q, k, v = (t.detach().half().requires_grad_() for t in inputs("cuda"))
    with sdpa_kernel(backend):
        torch.cuda.manual_seed(3)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
        torch.cuda.manual_seed(3)
        assert torch.equal(y, F.scaled_dot_product_attention(q, k, v, dropout_p=0.5))
        # The output is linear in v, so its gradient leads back to the output of the same weights.
        y.sum().backward()
        torch.testing.assert_close((v.grad * v).sum(), y.sum(), rtol=2e-2, atol=2e-1)


def test_vmap() -> None:
    """vmap's tensors hold no data of their own when the kernel is chosen."""
    q, k, v = (torch.stack([t.detach()] * 3) for t in inputs("cuda"))
    y = torch.func.vmap(F.scaled_dot_product_attention)(q, k, v)
    torch.testing.assert_close(y[1], F.scaled_dot_product_attention(q[1], k[1], v[1]))


def test_torch_compile() -> None:
    """Fake tensors hold no data either."""
    q, k, v = inputs("cuda")
    compiled = torch.compile(F.scaled_dot_product_attention, backend="aot_eager", fullgraph=True)
    y = compiled(q, k, v, is_causal=True)
    y.sum().backward()
    torch.testing.assert_close(y, F.scaled_dot_product_attention(q, k, v, is_causal=True))
    assert q.grad is not None


def test_mask_that_requires_grad_gets_a_gradient() -> None:
    q, k, v = inputs("cuda")
    mask = torch.linspace(-1, 1, 64, device="cuda").view(8, 8).requires_grad_()
    F.scaled_dot_product_attention(q, k, v, attn_mask=mask).square().sum().backward()
    reference = mask.detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        F.scaled_dot_product_attention(q, k, v, attn_mask=reference).square().sum().backward()
    torch.testing.assert_close(mask.grad, reference.grad, rtol=1e-4, atol=1e-4)


def test_math_can_be_asked_for() -> None:
    q, k, v = inputs("cuda")
    expected = F.scaled_dot_product_attention(q, k, v)
    with sdpa_kernel(SDPBackend.MATH), Operators() as ran, torch.no_grad():
        y = F.scaled_dot_product_attention(q, k, v)
    assert "aten::_scaled_dot_product_flash_attention" not in ran.names
    torch.testing.assert_close(y, expected)


def test_dropout_uses_cudas_generator() -> None:
    q, k, v = inputs("cuda")
    torch.cuda.manual_seed(3)
    first = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    torch.cuda.manual_seed(3)
    assert torch.equal(first, F.scaled_dot_product_attention(q, k, v, dropout_p=0.5))


def test_multihead_attention_and_encoder_layer() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, dropout=0.0, batch_first=True)
    x = torch.randn(2, 5, 16)
    for mode in (layer.train(), layer.eval()):
        expected = mode(x)
        torch.testing.assert_close(mode.cuda()(x.cuda()).cpu(), expected)
        layer.cpu()


def test_what_torch_backends_cuda_says(capfd: pytest.CaptureFixture[str]) -> None:
    def kernels(params: torch.backends.cuda.SDPAParams) -> list[bool]:
        cuda = torch.backends.cuda
        return [
            cuda.can_use_flash_attention(params),
            cuda.can_use_efficient_attention(params),
            cuda.can_use_cudnn_attention(params),
        ]

    half = torch.ones(1, 2, 8, 16, dtype=torch.float16, device="cuda")
    single = half.float()
    mask = torch.ones(8, 8, dtype=torch.bool, device="cuda")
    params = torch.backends.cuda.SDPAParams
    assert torch.backends.cuda.is_flash_attention_available()
    assert kernels(params(half, half, half, None, 0.0, False, False)) == [True, True, True]
    assert kernels(params(half, half, half, mask, 0.0, False, False)) == [False, True, True]
    assert kernels(params(single, single, single, None, 0.0, False, False)) == [False, True, False]
    cpu = half.cpu()
    assert kernels(params(cpu, cpu, cpu, None, 0.0, False, False)) == [False, False, False]
    single_params = params(single, single, single, None, 0.0, False, False)
    assert not torch.backends.cuda.can_use_flash_attention(single_params, debug=True)
    assert "Expected query, key and value to all be of dtype" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
def test_nested_tensors_are_refused_for_cudas_reasons() -> None:
    x = torch.nested.nested_tensor([torch.ones(n, 2, 57) for n in (2, 3)], device="cuda", dtype=torch.bfloat16)
    x = x.transpose(1, 2)
    with (
        sdpa_kernel([SDPBackend.FLASH_ATTENTION]),
        pytest.warns(UserWarning, match="For NestedTensor inputs, Flash attention requires"),
        pytest.raises(RuntimeError, match="No available kernel"),
    ):
        F.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", ["flash", "efficient", "cudnn"])
def test_fused_kernels_return_what_traced_graphs_expect(name: str, dropout: float) -> None:
    """Sizes, strides and types of the log-sums and of the random state are what torch's fake tensors say."""
    from torch._subclasses import FakeTensorMode

    arguments = {"flash": (dropout, True), "efficient": (None, True, dropout), "cudnn": (None, True, dropout, False)}
    operator = getattr(torch.ops.aten, f"_scaled_dot_product_{name}_attention")
    qkv = [torch.randn(2, 3, 40, 16, dtype=torch.half, device="cuda") for _ in range(3)]
    with FakeTensorMode() as mode:
        expected = operator(*map(mode.from_tensor, qkv), *arguments[name])
    for actual, fake in zip(operator(*qkv, *arguments[name]), expected, strict=True):
        if isinstance(fake, torch.Tensor):
            assert (actual.shape, actual.stride(), actual.dtype) == (fake.shape, fake.stride(), fake.dtype)
