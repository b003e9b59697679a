"""What MPS is known to compute wrong is right on cuda (make test-mps): the simulated MPS errs as the real one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.conftest import RunPython
from tests.native.counted import Counted, erring
from torchdevice import _C

pytestmark = pytest.mark.skipif(_C.native_backend_name() != "mps", reason="for the MPS backend: make test-mps")


@pytest.fixture(autouse=True)
def errs() -> Iterator[None]:
    torch.manual_seed(0)
    with erring():
        yield


def on(device: str, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return type(value)(on(device, one) for one in value) if isinstance(value, (tuple, list)) else value


def equals_the_cpu(call: Callable[..., Any], *arguments: Any, dtype: bool = True, close: float = 1e-3) -> None:
    ours, theirs = call(*on("cuda", arguments)), call(*arguments)
    torch.testing.assert_close(on("cpu", ours), theirs, check_dtype=dtype, rtol=close, atol=close)


LONG = 40_000


@pytest.mark.parametrize("length", [32_766, 32_767, LONG])
def test_sums_over_long_dimensions(length: int) -> None:
    a, b = torch.randn(17, length), torch.randn(length, 16)
    equals_the_cpu(torch.mm, a, b)
    equals_the_cpu(torch.addmm, torch.randn(16), a, b)
    equals_the_cpu(torch.bmm, a[None], b[None])
    equals_the_cpu(torch.baddbmm, torch.randn(1, 17, 16), a[None], b[None])


def test_sums_over_long_dimensions_in_every_form() -> None:
    a, b, c = torch.randn(17, LONG), torch.randn(LONG, 16), torch.randn(17, 16)
    equals_the_cpu(lambda x, y, z: torch.addmm(z, x, y, beta=0.5, alpha=2), a, b, c)
    equals_the_cpu(lambda x, y, z: torch.addmm(z, x, y, beta=0), a, b, c * torch.nan)
    equals_the_cpu(lambda x, y, z: z.clone().addmm_(x, y), a, b, c)
    equals_the_cpu(lambda x, y, z: torch.mm(x, y, out=z.clone()), a, b, c)
    equals_the_cpu(lambda x, y: torch.mm(x, y, out=x.new_empty(0)), a, b)
    equals_the_cpu(lambda x, y: torch.mm(x.t().contiguous().t(), y.t().contiguous().t()), a, b)
    half = torch.mm(a.half().cuda(), b.half().cuda()).cpu().float()
    torch.testing.assert_close(half, a.half().float() @ b.half().float(), rtol=1e-2, atol=0.5)
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        a.cuda() @ b.cuda()[:-1]


def test_the_gradient_of_a_long_batch() -> None:
    def gradient(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        weight = weight.clone().requires_grad_()
        F.linear(x, weight).square().mean().backward()
        assert weight.grad is not None
        return weight.grad

    equals_the_cpu(gradient, torch.randn(LONG, 16), torch.randn(16, 16))


def test_short_products_are_left_alone() -> None:
    a = torch.randn(20, 20, device="cuda")
    with Counted() as counted:
        a @ a
    assert counted.calls("aten::mm") == (1, 0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32, torch.float16])
def test_bincount_has_cudas_type(dtype: torch.dtype) -> None:
    equals_the_cpu(torch.bincount, torch.tensor([0, 2, 2]), torch.tensor([1, 2, 3]).to(dtype))


def test_spreads_of_complex_numbers_are_real() -> None:
    x = torch.randn(5, dtype=torch.complex64)
    for call in (torch.var, torch.std, torch.var_mean, torch.std_mean):
        equals_the_cpu(call, x)


def test_complex_matrices_are_factored() -> None:
    x = torch.randn(3, 3, dtype=torch.complex64)
    positive = x @ x.mH + 3 * torch.eye(3)
    equals_the_cpu(torch.linalg.cholesky, positive)
    equals_the_cpu(torch.linalg.cholesky_ex, positive)
    equals_the_cpu(torch.cholesky_inverse, torch.linalg.cholesky(positive))


def test_complex_factors_of_real_products() -> None:
    x, y = torch.randn(3, 3, dtype=torch.complex64), torch.randn(3, dtype=torch.complex64)
    equals_the_cpu(lambda a: torch.addmm(a, a, a, beta=1j, alpha=2 + 1j), x)
    equals_the_cpu(lambda a, b: torch.addr(a, b, b, beta=1j, alpha=2 + 1j), x, y)


def test_large_integers_keep_all_bits() -> None:
    x = torch.tensor([-(2**24) - 1, 2**40 + 1, 0])
    equals_the_cpu(torch.abs, x, close=0)
    equals_the_cpu(lambda a: a.clone().abs_(), x, close=0)
    equals_the_cpu(lambda a: torch.unique(a, return_inverse=True), x, close=0)
    equals_the_cpu(torch.addcmul, x, x, x, close=0)


def test_pools_to_sizes_that_do_not_divide() -> None:
    x = torch.randn(1, 2, 7, 7)
    equals_the_cpu(lambda a: F.adaptive_max_pool2d(a, 3), x)
    with Counted() as counted:
        F.adaptive_max_pool2d(x.cuda()[..., :6, :6], 3)
    assert counted.calls("aten::adaptive_max_pool2d") == (1, 0)


def test_systems_whose_batches_are_broadcast() -> None:
    equals_the_cpu(torch.linalg.solve, torch.randn(3, 2, 2) + 3 * torch.eye(2), torch.randn(2, 2))


def test_transposed_convolutions_of_halves_stay_on_the_device() -> None:
    x, weight = (torch.randn(shape, dtype=torch.float16) for shape in ((1, 2, 3, 3, 3), (2, 2, 2, 2, 2)))
    on_cuda = [x.cuda().requires_grad_(), weight.cuda().requires_grad_()]
    with Counted() as counted:
        y = F.conv_transpose3d(*on_cuda)
        y.sum().backward()
    assert [name for name in counted.after["operators"] if counted.calls(name)[1]] == []
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.cpu().float(), F.conv_transpose3d(x.float(), weight.float()), rtol=1e-2, atol=1e-2)


def test_more_than_2_to_the_31_elements() -> None:
    x = torch.zeros(1, dtype=torch.bool, device="cuda").expand(2**31 + 2)
    with Counted() as counted:
        assert not x.any().item()
    assert counted.calls("aten::any") == (0, 1)


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "a slice of channels": lambda x: x.repeat(1, 2, 1, 1)[:, x.shape[1] :],
    "an offset": lambda x: torch.cat([x[:1], x])[1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arguments_may_lie_in_memory_as_they_like(layout: str) -> None:
    lay = LAYOUTS[layout]
    x, weight = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3)
    equals_the_cpu(lambda a, b: F.conv2d(lay(a), b), x, weight)
    equals_the_cpu(lambda a, b: F.conv2d(a, lay(b)), x, weight)
    equals_the_cpu(lambda a: F.softplus(lay(a)), x)
    grid = torch.rand(2, 4, 4, 2) * 2 - 1
    equals_the_cpu(lambda a, b: F.grid_sample(lay(a), b, align_corners=False), x, grid)

    def normalize(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        a = lay(a).detach().requires_grad_()
        y = F.batch_norm(a, None, None, a.new_ones(3), a.new_zeros(3), training=True)
        y.square().sum().backward()
        return y.detach(), a.grad

    equals_the_cpu(normalize, x)


def test_results_keep_cudas_memory_format() -> None:
    x = torch.randn(2, 3, 5, 5, device="cuda").contiguous(memory_format=torch.channels_last)
    y = F.batch_norm(x, None, None, training=True)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_copies_between_the_devices_go_by_strides() -> None:
    source = torch.arange(12.0).view(3, 4)
    on_cuda = source.cuda()
    assert torch.equal(on_cuda[:, ::2].cpu(), source[:, ::2])
    target = torch.zeros(3, 4)
    target[:, 1::2].copy_(on_cuda[:, 1::2])
    assert target.tolist() == (source * torch.tensor([0.0, 1, 0, 1])).tolist()
    assert on_cuda.to("cpu", torch.float64).tolist() == source.tolist()
    assert torch.equal(on_cuda.cpu(), source)


def test_a_non_blocking_copy_has_the_values_of_its_call() -> None:
    for _ in range(3):
        source = torch.ones(1000)
        copied = source.to("cuda", non_blocking=True)
        source.zero_()
        assert copied.sum().item() == 1000


def test_copies_are_no_fallbacks_and_wait_once() -> None:
    x = torch.ones(4, device="cuda") + 1
    with Counted() as counted:
        assert x.cpu().tolist() == [2] * 4
        x.copy_(torch.zeros(4))
    assert counted.calls("aten::copy_") == (2, 0)
    assert counted["transitions"] == 1


@pytest.mark.parametrize("shape", [(0,), (7,), None])
def test_out_is_filled_and_resized(shape: tuple[int, ...] | None) -> None:
    x = torch.randn(4, 4)

    def out(a: torch.Tensor, like: tuple[int, ...] = (4, 4)) -> torch.Tensor:
        return a.new_empty(like if shape is None else shape)

    calls: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda a: torch.mm(a, a, out=out(a)),
        lambda a: torch.nan_to_num(a, out=out(a)),
        lambda a: torch.mean(a, 0, out=out(a, (4,))),
        lambda a: torch.fft.fft(a, out=out(a.to(torch.complex64))),
        lambda a: torch.logical_not(a, out=out(a)),
    ]
    for call in calls:
        if shape == (7,):
            with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
                equals_the_cpu(call, x)
        else:
            equals_the_cpu(call, x)


def test_out_of_another_type_has_cudas_error() -> None:
    x = torch.randn(4, 4, device="cuda")
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype float, but got double instead"):
        torch.mm(x, x, out=x.double())


def test_every_rule_names_operators_of_this_torch() -> None:
    rules = _C.known_wrong()
    assert len(rules) > 10
    known = set(torch._C._dispatch_get_all_op_names())
    for operators, what, instead, source in rules:
        assert set(operators) <= known, f"{what}: there is no {set(operators) - known}"
        assert all((operators, what, instead, source))


def test_the_table_of_the_documents_is_the_engines(root: Path) -> None:
    _, _, section = (root / "docs" / "platforms.md").read_text(encoding="utf-8").partition("| what is wrong |")
    rows = [tuple(line.strip("| ").split(" | ")) for line in section.partition("\n\n")[0].splitlines()[2:]]
    assert rows == [rule[1:] for rule in _C.known_wrong()]


def test_mps_may_be_trusted(run_python: RunPython) -> None:
    """And the simulated one errs: without the rules, all of this is wrong."""
    run_python(
        """
        import torch
        import torch.nn.functional as F
        from tests.native.counted import erring
        from torchdevice import _C
        assert _C.known_wrong() == []
        with erring():
            a = torch.ones(16, 40000, device="cuda")
            assert (a @ a.t()).max().item() == 41000
            one = torch.tensor([1], device="cuda")
            assert torch.bincount(one, one).dtype == torch.float32
            assert torch.tensor([-(2**24) - 1], device="cuda").abs().item() == 2**24
            assert torch.nan_to_num(a, out=a.new_empty(0)).numel() == 0
            x = torch.arange(6.0, device="cuda").view(2, 3).t()
            assert not torch.equal(F.softplus(x).cpu(), F.softplus(x.cpu()))
        """,
        TORCHDEVICE_TRUST_MPS="1",
    )


def test_a_bad_value_of_the_setting(run_python: RunPython) -> None:
    process = run_python("import torch; torch.ones(1, device='cuda')", check=False, TORCHDEVICE_TRUST_MPS="yes")
    assert process.returncode != 0
    assert "TORCHDEVICE_TRUST_MPS must be 0 or 1, got 'yes'" in process.stderr
