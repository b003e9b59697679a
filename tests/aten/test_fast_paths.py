"""The native backend's fast kernels run where the CPU takes them, or CUDA's counterpart does: seen by the profiler,
which records the operators that a native kernel calls as well.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile


def operators(call: Callable[[], object]) -> set[str]:
    """The operators that ran, on cuda and below."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        call()
    return {event.name.removeprefix("aten::") for event in recorded.events() if event.name.startswith("aten::")}


def inference(module: nn.Module, *arguments: torch.Tensor, **options: object) -> Callable[[], object]:
    module.cuda().eval()

    def call() -> object:
        with torch.inference_mode():
            return module(*arguments, **options)

    return call


def training(module: nn.Module, *arguments: torch.Tensor) -> Callable[[], object]:
    module.cuda()

    def call() -> None:
        result = module(*arguments)
        (result[0] if isinstance(result, tuple) else result).sum().backward()

    return call


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, device="cuda")


def step(optimizer: type[torch.optim.Optimizer], **options: object) -> Callable[[], object]:
    parameters = [torch.nn.Parameter(ones(3)) for _ in range(3)]
    for parameter in parameters:
        parameter.grad = ones(3)
    return optimizer(parameters, lr=0.1, **options).step


def attention() -> Callable[[], object]:
    query = ones(2, 4, 16, 8).requires_grad_()
    return lambda: nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True).sum().backward()


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)


#: A program, the kernels that it must run, and those that would mean a slow path.
PROGRAMS: dict[str, tuple[Callable[[], Callable[[], object]], set[str], set[str]]] = {
    "LSTM": (lambda: inference(nn.LSTM(8, 16, 2), ones(5, 3, 8)), {"mkldnn_rnn_layer"}, {"_thnn_fused_lstm_cell"}),
    "LSTM training": (
        lambda: training(nn.LSTM(8, 16, 2, bidirectional=True), ones(5, 3, 8)),
        {"mkldnn_rnn_layer", "mkldnn_rnn_layer_backward"},
        {"_thnn_fused_lstm_cell"},
    ),
    "GRU training": (
        lambda: training(nn.GRU(8, 16), ones(5, 3, 8)),
        {"_thnn_fused_gru_cell", "_thnn_fused_gru_cell_backward"},
        set(),
    ),
    "attention": (
        attention,
        {
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention_for_cpu_backward",
        },
        {"_scaled_dot_product_attention_math", "_softmax"},
    ),
    "MultiheadAttention": (
        lambda: inference(
            nn.MultiheadAttention(16, 4, batch_first=True),
            *[ones(2, 5, 16)] * 3,
            need_weights=False,
        ),
        {"_native_multi_head_attention", "_transform_bias_rescale_qkv"},
        set(),
    ),
    "TransformerEncoder": (
        lambda: inference(encoder(), ones(2, 5, 16)),
        {"_transformer_encoder_layer_fwd", "_native_multi_head_attention", "_addmm_activation"},
        set(),
    ),
    "TransformerEncoder with padding": (
        lambda: inference(
            encoder(),
            ones(2, 5, 16),
            src_key_padding_mask=torch.arange(5, device="cuda").expand(2, 5) >= torch.tensor([[5], [3]]).cuda(),
        ),
        {"_nested_tensor_from_mask", "_transformer_encoder_layer_fwd"},
        set(),
    ),
    "depthwise convolution": (
        lambda: training(nn.Conv2d(8, 8, 3, groups=8), ones(1, 8, 16, 16)),
        {"mkldnn_convolution", "convolution_backward"},
        {"slow_conv2d_forward"},
    ),
    "batch norm": (
        lambda: training(nn.BatchNorm2d(3), ones(2, 3, 8, 8)),
        {"native_batch_norm", "native_batch_norm_backward"},
        set(),
    ),
    "fused AdamW": (lambda: step(torch.optim.AdamW, fused=True), {"_fused_adamw_"}, {"_foreach_mul_", "mul_"}),
    "fused SGD": (lambda: step(torch.optim.SGD, fused=True), {"_fused_sgd_"}, {"_foreach_add_"}),
    "Adam as CUDA chooses": (lambda: step(torch.optim.Adam), {"_foreach_lerp_", "_foreach_addcdiv_"}, set()),
    "gradient clipping": (
        lambda: lambda: nn.utils.get_total_norm([ones(3), ones(4)]),
        {"_foreach_norm"},
        set(),
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_runs_the_fast_kernels(program: str) -> None:
    make, fast, slow = PROGRAMS[program]
    found = operators(make())
    assert fast <= found
    assert not slow & found


def test_convolution_takes_the_kernel_that_the_cpu_takes() -> None:
    """Whichever that is on this machine, for each of a few shapes."""
    modules: list[tuple[nn.Module, tuple[int, ...]]] = [
        (nn.Conv1d(3, 8, 3), (2, 3, 20)),
        (nn.Conv2d(3, 8, 3), (2, 3, 64, 64)),
        (nn.Conv2d(16, 16, 3, padding=1, dilation=2), (1, 16, 16, 16)),
        (nn.Conv3d(2, 4, 3), (1, 2, 8, 8, 8)),
        (nn.ConvTranspose2d(3, 8, 3), (1, 3, 16, 16)),
    ]
    for module, shape in modules:
        x = torch.ones(shape)
        native = {name for name in operators(lambda m=module, x=x: m(x)) if "conv" in name}  # type: ignore[misc]
        ours = {name for name in operators(inference(module, x.cuda())) if "conv" in name}
        assert ours == native
