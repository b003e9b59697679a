"""FakeTensorMode and meta tensors: shapes, devices and errors of cuda programs without their data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

F = torch.nn.functional
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x @ x.mT + 1,
        lambda x: x.t().contiguous(memory_format=torch.contiguous_format).view(-1)[3:],
        lambda x: F.scaled_dot_product_attention(*[x.view(1, 2, 2, 4)] * 3),
        lambda x: F.conv1d(x[None], x[:, None, :2], groups=4),
        lambda x: F.layer_norm(x, (4,)),
        lambda x: torch.linalg.svd(x)[1],
        lambda x: torch.fft.rfft(x),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: x.sum(0, dtype=torch.float64).sort()[1],
        lambda x: F.dropout(x, 0.5) + torch.rand_like(x) + torch.randn(4, device="cuda"),
        lambda x: x.add_(1).to(torch.float8_e4m3fn),
        lambda x: torch.full((2,), 1.0, device="cuda").type_as(x),
        lambda x: x.new_tensor([1.0]) + torch.tensor(2.0),
        lambda x: torch._foreach_add([x], [x])[0],
    ],
    ids=[
        "matmul", "layout", "attention", "convolution", "layer_norm", "svd", "fft", "batch_norm", "sort", "random",
        "float8", "factory", "scalar tensor", "foreach",
    ],
)  # fmt: skip
def test_a_fake_result_is_like_the_real_one(function: Callable[[Tensor], Tensor]) -> None:
    real = function(torch.randn(4, 4, device="cuda"))
    with FakeTensorMode():
        fake = function(torch.randn(4, 4, device="cuda"))
    assert isinstance(fake, FakeTensor)
    assert (fake.device, fake.dtype, fake.shape, fake.stride()) == (CUDA, real.dtype, real.shape, real.stride())


def test_a_model_and_its_gradients_without_memory() -> None:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with FakeTensorMode():
        model = torch.nn.TransformerEncoderLayer(512, 8, batch_first=True, device="cuda")
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.randn(64, 1024, 512, device="cuda")).sum().backward()
        optimizer.step()
        assert all(parameter.grad.device == CUDA for parameter in model.parameters())
    assert torch.cuda.max_memory_allocated() <= before


def test_a_conversion_keeps_views_and_names_the_device() -> None:
    real = torch.randn(3, 4, device="cuda", requires_grad=True)
    mode = FakeTensorMode()
    fake = mode.from_tensor(real)
    view = mode.from_tensor(real.t()[1:])
    assert (fake.device, fake.requires_grad, view.shape, view.stride()) == (CUDA, True, (3, 3), (1, 4))
    assert fake.cpu().device.type == "cpu"
    assert fake.detach().to("cuda") is not fake


def test_devices_do_not_mix() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match=r"cuda:0.*cpu|cpu.*cuda:0"):
        torch.ones(2, device="cuda") + torch.ones(2)


def test_a_fake_tensor_has_no_data() -> None:
    with FakeTensorMode():
        fake = torch.ones(1, device="cuda")
    with pytest.raises(Exception, match="_local_scalar_dense"):
        fake.item()


@pytest.mark.parametrize("tracing_mode", ["real", "fake", "symbolic"])
def test_make_fx_traces_cuda(tracing_mode: str) -> None:
    def function(x: Tensor) -> Tensor:
        return torch.cat([x.relu(), torch.zeros(x.shape[0], 1, device=x.device)], 1).sum(0)

    graph = make_fx(function, tracing_mode=tracing_mode)(torch.randn(3, 4, device="cuda"))
    x = torch.randn(3, 4, device="cuda")
    assert torch.equal(graph(x), function(x))
    assert "device(type='cuda', index=0)" in graph.code


def test_symbolic_shapes() -> None:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    x = mode.from_tensor(torch.empty(5, 7, device="cuda"))
    with mode:
        y = torch.nn.functional.pad(x @ x.mT, (1, 1))
    assert y.shape[1] == x.shape[0] + 2
    assert y.device == CUDA


def test_meta_tensors_come_to_cuda() -> None:
    model = torch.nn.Linear(3, 2, device="meta")
    model.to_empty(device="cuda").load_state_dict({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
    assert model(torch.ones(3, device="cuda")).tolist() == [3.0, 3.0]
    assert torch.ones(2, device="cuda").to("meta").device.type == "meta"
