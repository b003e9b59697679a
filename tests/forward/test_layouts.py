"""Sparse, compressed sparse, quantized, nested and masked tensors: each case gives on cuda what it gives on the CPU."""

from __future__ import annotations

import copy
import gc
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors is in prototype"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor"),
]

Case = Callable[[str], Any]

_generator = torch.Generator().manual_seed(0)
DENSE = torch.randn(4, 5, generator=_generator).relu()
SQUARE = torch.randn(4, 4, generator=_generator)
FACTOR = torch.randn(5, 3, generator=_generator)


def plain(value: Any) -> Any:
    """What a result holds, as something to compare: lists of strided CPU tensors with what tells the layouts apart."""
    if not isinstance(value, Tensor):
        return value
    if value.layout is torch.jagged or value.is_nested:
        return [value.layout, *(part.detach().cpu() for part in value.unbind())]
    if value.is_quantized:
        return [value.qscheme(), value.int_repr().cpu(), value.dequantize().cpu()]
    if value.layout is torch.sparse_coo:
        return [value.is_coalesced(), value.shape, value._indices().cpu(), value._values().detach().cpu()]
    if value.layout is not torch.strided:
        return [value.layout, value.to_dense().detach().cpu()]
    return [value.stride(), value.detach().cpu()]


def check(case: Case) -> None:
    expected, result = case("cpu"), case("cuda")
    if isinstance(result, Tensor):
        assert result.is_cuda
        assert result.dtype == expected.dtype
        assert result.layout == expected.layout
    if isinstance(expected, Tensor):
        for a, b in zip(plain(result), plain(expected), strict=True):
            if isinstance(b, Tensor):
                torch.testing.assert_close(a, b)
            else:
                assert a == b
    else:
        assert result == expected


def coo(device: str) -> Tensor:
    return DENSE.to(device).to_sparse()


def csr(device: str) -> Tensor:
    return DENSE.to(device).to_sparse_csr()


def bsr(device: str) -> Tensor:
    return SQUARE.to(device).to_sparse_bsr((2, 2))


def duplicated(device: str) -> Tensor:
    indices = torch.tensor([[0, 0, 1], [2, 2, 2]], device=device)
    return torch.sparse_coo_tensor(indices, torch.tensor([3.0, 4.0, 5.0], device=device), (2, 3))


def saved(tensor: Tensor) -> Tensor:
    file = io.BytesIO()
    torch.save(tensor, file)
    file.seek(0)
    return torch.load(file)


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x.requires_grad_()
    function(x).sum().backward()
    assert x.grad is not None
    return x.grad


def sparse_adam(device: str) -> Tensor:
    torch.manual_seed(0)
    embedding = nn.Embedding(10, 3, sparse=True).to(device)
    optimizer = torch.optim.SparseAdam(embedding.parameters())
    embedding(torch.tensor([1, 2, 2], device=device)).sum().backward()
    assert embedding.weight.grad.is_sparse
    optimizer.step()
    return embedding.weight


SPARSE: dict[str, Case] = {
    "from dense": coo,
    "constructor": duplicated,
    "hybrid": lambda d: torch.stack([SQUARE, SQUARE]).to(d).to_sparse(1),
    "coalesce": lambda d: duplicated(d).coalesce(),
    "values": lambda d: coo(d).values(),
    "indices": lambda d: coo(d).indices(),
    "nnz": lambda d: coo(d)._nnz(),
    "to dense": lambda d: coo(d).to_dense(),
    "add": lambda d: coo(d) + coo(d),
    "add to dense": lambda d: torch.ones(4, 5, device=d).add_(coo(d)),
    "multiply": lambda d: coo(d) * coo(d),
    "multiply dense": lambda d: DENSE.to(d) * coo(d),
    "scale": lambda d: coo(d) * 2,
    "divide": lambda d: coo(d) / 2,
    "power": lambda d: coo(d) ** 2,
    "negate and abs": lambda d: coo(d).neg().abs(),
    "in place": lambda d: coo(d).sqrt_(),
    "zero_": lambda d: coo(d).zero_(),
    "matrix product": lambda d: coo(d) @ FACTOR.to(d),
    "sparse product": lambda d: torch.sparse.mm(coo(d), FACTOR.to(d).to_sparse()),
    "addmm": lambda d: torch.sparse.addmm(torch.ones(4, 3, device=d), coo(d), FACTOR.to(d)),
    "vector product": lambda d: torch.mv(coo(d), torch.ones(5, device=d)),
    "sum": lambda d: torch.sparse.sum(coo(d)),
    "sum of rows": lambda d: torch.sparse.sum(coo(d), 1),
    "norm": lambda d: coo(d).norm(),
    "softmax": lambda d: torch.sparse.softmax(coo(d), 1),
    "log_softmax": lambda d: torch.sparse.log_softmax(coo(d), 0),
    "transpose": lambda d: coo(d).t(),
    "unsqueeze": lambda d: coo(d).unsqueeze(0),
    "cat": lambda d: torch.cat([coo(d), coo(d)]),
    "index_select": lambda d: coo(d).index_select(0, torch.tensor([1, 2], device=d)),
    "row": lambda d: coo(d)[1],
    "sparse_mask": lambda d: DENSE.to(d).sparse_mask(coo(d)),
    "zeros_like": lambda d: torch.zeros_like(coo(d)),
    "resize": lambda d: coo(d).sparse_resize_((6, 6), 2, 0),
    "double": lambda d: coo(d).double(),
    "moved": lambda d: coo("cpu").to(d),
    "save": lambda d: saved(coo(d)),
    "deepcopy": lambda d: copy.deepcopy(coo(d)),
    "gradient of factor": lambda d: gradient(lambda x: torch.sparse.mm(coo(d), x), FACTOR.to(d).clone()),
    "gradient of sum": lambda d: gradient(torch.sparse.sum, coo(d)),
    "SparseAdam": sparse_adam,
    "csr": csr,
    "csc": lambda d: DENSE.to(d).to_sparse_csc(),
    "bsr": bsr,
    "bsc": lambda d: SQUARE.to(d).to_sparse_bsc((2, 2)),
    "csr to coo": lambda d: csr(d).to_sparse_coo(),
    "csr add": lambda d: csr(d) + csr(d),
    "csr scale": lambda d: csr(d) * 3,
    "csr relu": lambda d: csr(d).neg().relu(),
    "csr product": lambda d: csr(d) @ FACTOR.to(d),
    "csr vector product": lambda d: csr(d) @ torch.ones(5, device=d),
    "csr product of sparse ones": lambda d: torch.addmm(csr(d).mul(0), SQUARE.to(d).to_sparse_csr(), csr(d)),
    "csc product of sparse ones": lambda d: SQUARE.to(d).to_sparse_csc() @ DENSE.to(d).to_sparse_csc(),
    "csr members": lambda d: csr(d).crow_indices(),
    "csr moved": lambda d: csr("cpu").to(d),
    "csr pickled": lambda d: pickle.loads(pickle.dumps(csr(d))),
    "bsr to bsc": lambda d: bsr(d).to_sparse_bsc((2, 2)),
    "checked": lambda d: torch.sparse_coo_tensor(
        coo(d).indices(), coo(d).values(), (4, 5), is_coalesced=True, check_invariants=True
    ),
    "bsr product": lambda d: bsr(d) @ torch.ones(4, 2, device=d),
    "reduced product": lambda d: gradient(lambda x: torch.sparse.mm(csr(d), x, "amax"), FACTOR.to(d).clone()),
    "sampled product": lambda d: torch.sparse.sampled_addmm(
        csr(d), torch.ones(4, 2, device=d), torch.ones(2, 5, device=d)
    ),
}


def quantized(device: str) -> Tensor:
    return torch.quantize_per_tensor(DENSE.to(device), 0.1, 3, torch.quint8)


def per_channel(device: str) -> Tensor:
    scales = torch.tensor([0.1, 0.2, 0.3, 0.4], device=device)
    zero_points = torch.zeros(4, dtype=torch.long, device=device)
    return torch.quantize_per_channel(DENSE.to(device), scales, zero_points, 0, torch.qint8)


QUANTIZED: dict[str, Case] = {
    "quantize": quantized,
    "dynamic": lambda d: torch.quantize_per_tensor_dynamic(DENSE.to(d), torch.quint8, False),
    "dequantize": lambda d: quantized(d).dequantize(),
    "int_repr": lambda d: quantized(d).int_repr(),
    "scale": lambda d: (quantized(d).q_scale(), quantized(d).q_zero_point()),
    "per channel": per_channel,
    "per channel scales": lambda d: per_channel(d).q_per_channel_scales(),
    "view": lambda d: quantized(d).view(5, 4),
    "slice": lambda d: quantized(d)[1:3],
    "clone": lambda d: quantized(d).clone(),
    "copy_": lambda d: quantized(d).copy_(quantized(d)),
    "cat": lambda d: torch.cat([quantized(d), quantized(d)]),
    "relu": lambda d: quantized(d).relu(),
    "max_pool2d": lambda d: F.max_pool2d(quantized(d).view(1, 1, 4, 5), 2),
    "equal": lambda d: torch.equal(quantized(d), quantized(d)),
    "quantized.add": lambda d: torch.ops.quantized.add(quantized(d), quantized(d), 0.2, 0),
    "moved": lambda d: quantized("cpu").to(d),
    "there and back": lambda d: quantized(d).cpu().to(d),
    "save": lambda d: saved(per_channel(d)),
    "fake_quantize": lambda d: torch.fake_quantize_per_tensor_affine(DENSE.to(d), 0.1, 0, 0, 255),
}


def nested(device: str) -> Tensor:
    return torch.nested.nested_tensor([torch.arange(6.0).view(2, 3), torch.ones(4, 3)], device=device)


def jagged(device: str) -> Tensor:
    return torch.nested.nested_tensor(
        [torch.arange(6.0).view(2, 3), torch.ones(4, 3)], device=device, layout=torch.jagged
    )


def through_nested(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        parts = torch.nested.as_nested_tensor([x, torch.ones(4, 3, device=x.device)])
        return function(parts).to_padded_tensor(0.0)

    return run


def layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, (3,), torch.full((3,), 2.0, device=x.device), torch.ones(3, device=x.device))


def attention(device: str, layout: torch.layout) -> Tensor:
    parts = [torch.linspace(0, 1, 24).view(3, 2, 4), torch.ones(5, 2, 4)]
    if layout is torch.strided:
        parts = [part.transpose(0, 1).contiguous() for part in parts]
        x = torch.nested.nested_tensor(parts, device=device, layout=layout)
    else:
        x = torch.nested.nested_tensor(parts, device=device, layout=layout).transpose(1, 2)
    return F.scaled_dot_product_attention(x, x, x)


def encoder(device: str) -> Tensor:
    """Inference with padding takes the fast path, through nested tensors."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval().to(device)
    padding = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], dtype=torch.bool, device=device)
    with torch.no_grad():
        return model(torch.ones(2, 5, 8, device=device), src_key_padding_mask=padding)


NESTED: dict[str, Case] = {
    "nested_tensor": nested,
    "as_nested_tensor": lambda d: torch.nested.as_nested_tensor([torch.ones(2, device=d), torch.ones(3, device=d)]),
    "add": lambda d: nested(d) + nested(d),
    "scale": lambda d: nested(d) * 2,
    "relu": lambda d: nested(d).relu(),
    "to_padded_tensor": lambda d: torch.nested.to_padded_tensor(nested(d), 0.0),
    "linear": lambda d: F.linear(nested(d), torch.ones(5, 3, device=d)),
    "matmul": lambda d: torch.matmul(nested(d), nested(d).transpose(1, 2)),
    "softmax": lambda d: torch.softmax(nested(d), -1),
    "layer_norm": lambda d: layer_norm(nested(d)),
    "dropout": lambda d: F.dropout(nested(d), 0.0),
    "moved": lambda d: nested("cpu").to(d),
    "there and back": lambda d: nested(d).cpu().to(d),
    "attention": lambda d: attention(d, torch.strided),
    "gradient": lambda d: gradient(through_nested(lambda x: x * 2), torch.ones(2, 3, device=d)),
    "gradient of layer_norm": lambda d: gradient(through_nested(layer_norm), FACTOR[:2].to(d).clone()),
    "jagged": jagged,
    "jagged add": lambda d: jagged(d) + 1,
    "jagged linear": lambda d: F.linear(jagged(d), torch.ones(5, 3, device=d)),
    "jagged sum": lambda d: jagged(d).sum(-1),
    "jagged to_padded_tensor": lambda d: jagged(d).to_padded_tensor(0.0),
    "jagged attention": lambda d: attention(d, torch.jagged),
    "TransformerEncoder": encoder,
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse(name: str) -> None:
    check(SPARSE[name])


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized(name: str) -> None:
    check(QUANTIZED[name])


@pytest.mark.parametrize("name", NESTED)
def test_nested(name: str) -> None:
    check(NESTED[name])


def test_masked() -> None:
    def case(device: str) -> Tensor:
        mask = torch.tensor([True, False, True, True], device=device)
        return torch.masked.masked_tensor(torch.arange(4.0, device=device), mask).sum().get_data()

    check(case)


@pytest.mark.parametrize("make", [coo, csr, quantized, per_channel, nested, jagged])
def test_identity(make: Case) -> None:
    tensor = make("cuda")
    assert tensor.is_cuda
    assert tensor.device == torch.device("cuda:0")
    assert "cuda:0" in repr(tensor)
    assert "cpu" not in repr(tensor).replace("cpu_", "")


def test_type_name() -> None:
    assert coo("cuda").type() == "torch.cuda.sparse.FloatTensor"


def test_members_share_memory() -> None:
    x = coo("cuda")
    x._values().fill_(7)
    assert x.to_dense().max().item() == 7
    y = csr("cuda")
    y.values().fill_(7)
    assert y.to_dense().max().item() == 7


def test_memory_is_the_devices() -> None:
    gc.collect()
    before = torch.cuda.memory_allocated()
    x = torch.eye(256, device="cuda").to_sparse()
    assert torch.cuda.memory_allocated() - before == 256 * 2 * 8 + 256 * 4
    y = x * x
    del x
    assert torch.cuda.memory_allocated() - before >= 256 * 2 * 8 + 256 * 4
    del y
    assert torch.cuda.memory_allocated() == before


def test_mixed_devices() -> None:
    with pytest.raises(RuntimeError):
        coo("cuda") + coo("cpu")
    with pytest.raises(RuntimeError, match="device"):
        torch.sparse.mm(coo("cuda"), FACTOR)


def test_gradcheck() -> None:
    x = DENSE.double().cuda().to_sparse().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: torch.sparse.sum(t * 2), (x,), masked=True)


def test_another_device_than_the_current_one(run_python: Callable[..., Any]) -> None:
    run_python(
        """
        import torch
        dense = torch.eye(4, device="cuda:1")
        x = dense.to_sparse()
        results = {
            "made": torch.sparse_coo_tensor(x._indices(), x._values(), x.shape),
            "coalesced": (x + x).coalesce(),
            "masked": dense.sparse_mask(x),
            "product": x * x,
            "moved": torch.eye(4).to_sparse().to("cuda:1"),
            "compressed": dense.to_sparse_csr().clone(),
        }
        for name, result in results.items():
            assert result.device == torch.device("cuda:1"), name
            values = result.values() if result.is_sparse_csr else result._values()
            assert values.device == torch.device("cuda:1"), name
        assert torch.cuda.current_device() == 0
        """,
        TORCHDEVICE_COUNT="2",
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bool])
def test_sums_and_products_in_types_that_the_cpu_lacks(dtype: torch.dtype) -> None:
    dense = torch.tensor([[0, 1, 1], [1, 0, 0]], device="cuda").to(dtype)
    sparse = dense.to_sparse()
    for result, expected in ((sparse + sparse, dense + dense), (sparse * sparse, dense * dense)):
        assert result.dtype == dtype
        assert torch.equal(result.to_dense(), expected)
    sparse.add_(sparse)
    assert torch.equal(sparse.to_dense(), dense + dense)
