"""Arguments are aliased without copies and results adopted in place; nothing of it shows outside."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

CUDA = torch.device("cuda:0")


def test_result_is_a_plain_cuda_tensor() -> None:
    y = torch.ones(3, device="cuda") + torch.ones(3, device="cuda")
    assert type(y) is torch.Tensor
    assert y.device == CUDA
    assert y.is_cuda
    assert y.untyped_storage().device == CUDA
    assert y.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "operator",
    [
        lambda x: torch.sort(x),
        lambda x: torch.max(x, dim=0),
        lambda x: torch.split(x, 2),
        lambda x: torch.unbind(x),
        lambda x: torch.linalg.svd(x.view(2, 3)),
        lambda x: torch.unique(x, return_inverse=True, return_counts=True),
        lambda x: torch._foreach_add([x, x], 1.0),
        lambda x: torch.frexp(x),
    ],
)
def test_every_kind_of_result_equals_the_cpus(operator: Callable[..., Any]) -> None:
    x = torch.tensor([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    for ours, reference in zip(operator(x.cuda()), operator(x), strict=True):
        assert ours.device == CUDA
        assert torch.equal(ours.cpu(), reference)
        assert ours.stride() == reference.stride()


def test_views_share_storage_and_version_counter() -> None:
    base = torch.zeros(4, 4, device="cuda")
    views = [base[1], base.t(), base.view(16), base.unfold(0, 2, 2), base.diagonal(), base.expand(2, 4, 4)]
    for view in views:
        assert view._is_view()
        assert view.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()
    before = base._version
    views[0].add_(1)
    assert base._version == before + 1
    assert base.sum().item() == 4.0


def test_native_views_of_an_argument_become_views_of_its_storage() -> None:
    x = torch.arange(6.0, device="cuda")
    parts = torch.ops.aten.unsafe_split(x, 3)
    assert [part.storage_offset() for part in parts] == [0, 3]
    assert all(part.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() for part in parts)
    assert x.contiguous().data_ptr() == x.data_ptr()


def test_overlap_is_seen_through_aliases() -> None:
    x = torch.zeros(4, device="cuda")
    with pytest.raises(RuntimeError, match="unsupported operation: some elements of the input tensor"):
        torch.add(x[:-1], 1, out=x[1:])
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        torch.zeros(1, device="cuda").expand(4).add_(1)


def test_out_resizes_the_cuda_tensor() -> None:
    out = torch.empty(0, device="cuda")
    result = torch.add(torch.ones(2, 3, device="cuda"), 1, out=out)
    assert result is out
    assert out.shape == (2, 3)
    assert out.untyped_storage().nbytes() == 24
    assert out.untyped_storage().device == CUDA
    assert out.sum().item() == 12.0


def test_out_into_a_view_writes_the_base() -> None:
    base = torch.zeros(3, 4, device="cuda")
    torch.mul(torch.full((4,), 3.0, device="cuda"), 2, out=base[1])
    assert base[1].tolist() == [6.0] * 4
    assert base[0].sum().item() == 0


def test_several_outputs() -> None:
    values, indices = torch.empty(0, device="cuda"), torch.empty(0, dtype=torch.long, device="cuda")
    result = torch.sort(torch.tensor([2.0, 1.0], device="cuda"), out=(values, indices))
    assert result.values is values
    assert values.tolist() == [1.0, 2.0]
    assert indices.tolist() == [1, 0]


def test_resize_keeps_contents_and_reaches_every_view() -> None:
    x = torch.arange(4.0, device="cuda")
    view = x[:2]
    x.resize_(100)
    assert x[:4].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert view.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert view.tolist() == [0.0, 1.0]
    assert x.resize_(2) is x
    assert x.shape == (2,)


def test_exception_leaves_no_state_behind() -> None:
    out = torch.zeros(2, device="cuda")
    x = torch.ones(2, 3, device="cuda")
    for _ in range(50):
        with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
            torch.mm(x, x, out=out)
    assert out.tolist() == [0.0, 0.0]
    assert out.shape == (2,)
    allocated = torch.cuda.memory_allocated()
    torch.ones(2)  # CPU memory is CPU memory again
    assert torch.cuda.memory_allocated() == allocated


def test_copy_on_write_storage_is_copied_before_a_kernel_writes() -> None:
    x = torch.ones(4, device="cuda")
    lazy = torch._lazy_clone(x)
    lazy.add_(1)
    assert x.tolist() == [1.0] * 4
    assert lazy.tolist() == [2.0] * 4


def test_reading_a_lazy_clone_copies_nothing() -> None:
    x = torch.arange(4.0, device="cuda")
    lazy = torch._lazy_clone(x)
    assert (x + lazy).tolist() == [0.0, 2.0, 4.0, 6.0]
    assert torch.cat([x, lazy, lazy[:1]]).shape == (9,)
    assert torch._C._is_cow_tensor(x)
    assert torch._C._is_cow_tensor(lazy)


def test_lazy_clones_that_are_read_and_written_in_one_call() -> None:
    x = torch.ones(4, device="cuda")
    lazy = torch._lazy_clone(x)
    torch.add(lazy, x, out=lazy)
    assert x.tolist() == [1.0] * 4
    assert lazy.tolist() == [2.0] * 4
    assert not torch._C._is_cow_tensor(lazy)
    lazy += 1
    assert lazy.tolist() == [3.0] * 4


def test_writes_that_no_type_tells_of_reach_a_lazy_clone() -> None:
    mean = torch.zeros(2, device="cuda")
    lazy = torch._lazy_clone(mean)
    torch.batch_norm(
        torch.ones(3, 2, device="cuda"), None, None, lazy, torch.ones(2, device="cuda"), True, 1.0, 1e-5, False
    )
    assert lazy.tolist() == [1.0, 1.0]
    assert mean.tolist() == [0.0, 0.0]


def test_long_lists_with_duplicates() -> None:
    tensors = [torch.full((2,), float(i), device="cuda") for i in range(300)]
    torch._foreach_add_([*tensors, tensors[0]], 1.0)
    assert tensors[0].tolist() == [2.0, 2.0]
    assert tensors[299].tolist() == [300.0, 300.0]
    assert torch.cat(tensors).shape == (600,)


def test_undefined_and_empty_tensors() -> None:
    assert torch.cat([torch.empty(0, device="cuda"), torch.ones(2, device="cuda")]).tolist() == [1.0, 1.0]
    assert torch.empty(0, 3, device="cuda").sum().item() == 0.0
    assert torch.ones(3, 0, device="cuda").mm(torch.ones(0, 2, device="cuda")).tolist() == [[0.0, 0.0]] * 3
    module = torch.nn.LayerNorm(4, elementwise_affine=False)
    assert module(torch.ones(2, 4, device="cuda")).abs().sum().item() == 0.0


def test_conjugate_and_negative_bits_cross() -> None:
    x = torch.tensor([1 + 2j, 3 - 1j], device="cuda")
    assert x.conj().is_conj()
    assert torch.equal(torch.dot(x.conj(), x).cpu(), torch.dot(x.cpu().conj(), x.cpu()))
    assert torch.equal((x.conj() + 1).cpu(), x.cpu().conj() + 1)
    assert torch.equal(x.conj().imag.cpu(), x.cpu().conj().imag)


def test_inference_mode() -> None:
    with torch.inference_mode():
        x = torch.ones(2, device="cuda") + 1
        x.add_(1)
    assert x.is_inference()
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        (torch.ones(2, device="cuda", requires_grad=True) * x).sum().backward()


def test_memory_returns_when_tensors_die() -> None:
    gc.collect()
    before = torch.cuda.memory_allocated()
    x = torch.ones(1000, 1000, device="cuda")
    y = x @ x
    assert torch.cuda.memory_allocated() >= before + 8_000_000
    del x, y
    assert torch.cuda.memory_allocated() == before


def test_threads_do_not_share_aliases() -> None:
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            x = torch.full((64, 64), float(seed), device="cuda")
            for _ in range(50):
                assert (x @ x)[0, 0].item() == 64.0 * seed * seed
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_out_takes_over_lazy_conjugation() -> None:
    """linalg.lu_solve gives out= a conjugate bit, which says how its memory is to be read."""
    torch.manual_seed(0)
    a = torch.randn(3, 3, dtype=torch.complex64)
    b = torch.randn(2, 3, dtype=torch.complex64)
    factors, pivots = torch.linalg.lu_factor(a)
    expected = torch.linalg.lu_solve(factors, pivots, b, left=False)
    out = torch.empty_like(b, device="cuda")
    torch.linalg.lu_solve(factors.cuda(), pivots.cuda(), b.cuda(), left=False, out=out)
    torch.testing.assert_close(out.cpu(), expected)


@pytest.mark.parametrize(
    "name", ["_foreach_add_", "_foreach_mul_", "_foreach_sqrt_", "_foreach_zero_", "_foreach_copy_"]
)
def test_foreach_writes_are_counted(name: str) -> None:
    def versions(device: str) -> list[int]:
        lists = [[torch.ones(3, device=device), torch.ones(2, device=device)] for _ in range(2)]
        function = getattr(torch, name)
        function(*lists[: 1 if name in {"_foreach_sqrt_", "_foreach_zero_"} else 2])
        return [tensor._version for tensors in lists for tensor in tensors]

    assert versions("cuda") == versions("cpu")
    assert versions("cuda")[0] == 1


def test_autograd_notices_foreach_writes() -> None:
    x = torch.ones(3, device="cuda", requires_grad=True)
    y = x * 2
    z = (y * y).sum()
    with torch.no_grad():
        torch._foreach_add_([y], 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


@pytest.mark.parametrize("count", range(12, 20))
def test_lists_of_any_length_one_after_another(count: int) -> None:
    """Duplicates in long lists are found by a table, which must not outlive its call."""
    for _ in range(2):
        tensors = [torch.ones(2, device="cuda") for _ in range(count)]
        found, scale = torch.zeros(1, device="cuda"), torch.full((1,), 0.5, device="cuda")
        torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, scale)
        torch._foreach_add_(tensors, tensors)
        assert [tensor.tolist() for tensor in tensors] == [[1, 1]] * count
