"""Tensors on different devices raise what torch with CUDA raises: type and text (torch 2.13)."""

from __future__ import annotations

import re

import pytest
import torch

from tests.conftest import RunPython


def on_cuda(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, device="cuda")


def test_generated_check_names_argument_and_method() -> None:
    message = (
        "Expected all tensors to be on the same device, but got mat2 is on cpu, different from other tensors on "
        "cuda:0 (when checking argument in method wrapper_CUDA_mm)"
    )
    with pytest.raises(RuntimeError, match=re.escape(message)):
        torch.mm(on_cuda(2, 2), torch.ones(2, 2))


def test_generated_check_of_an_unstructured_operator() -> None:
    with pytest.raises(RuntimeError, match=re.escape("(when checking argument in method wrapper_CUDA__index_select)")):
        torch.index_select(on_cuda(3, 3), 0, torch.tensor([0]))


def test_generated_check_has_no_exemption_for_scalars() -> None:
    with pytest.raises(RuntimeError, match=re.escape("wrapper_CUDA_gather")):
        torch.gather(on_cuda(1), 0, torch.tensor(0))


@pytest.mark.parametrize("order", [0, 1])
def test_tensor_iterator_names_both_devices(order: int) -> None:
    operands = [on_cuda(2), torch.ones(2)]
    message = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        torch.add(operands[order], operands[1 - order])


def test_zero_dimensional_cpu_tensors_are_exempt() -> None:
    x = on_cuda(2)
    assert torch.equal((x + torch.tensor(2.0)).cpu(), torch.full((2,), 3.0))
    assert torch.equal((torch.tensor(2.0) * x).cpu(), torch.full((2,), 2.0))
    assert torch.equal(torch.where(x > 0, x, torch.tensor(5.0)).cpu(), torch.ones(2))
    x.add_(torch.tensor(1.0))
    assert x.device == torch.device("cuda:0")
    assert x.tolist() == [2.0, 2.0]


def test_writing_to_a_cpu_scalar_is_not_exempt() -> None:
    with pytest.raises(RuntimeError, match=r"found at least two devices, cuda:0 and cpu!"):
        torch.tensor(1.0).add_(on_cuda(1)[0])


def test_out_on_another_device() -> None:
    with pytest.raises(RuntimeError, match=r"found at least two devices, cuda:0 and cpu!"):
        torch.add(on_cuda(2), on_cuda(2), out=torch.empty(2))


def test_cat_checks_every_tensor_of_the_list() -> None:
    with pytest.raises(RuntimeError, match=re.escape("got tensors is on cpu, different from other tensors on cuda:0")):
        torch.cat([on_cuda(2), torch.ones(2)])


def test_indices_may_live_on_the_cpu() -> None:
    x = torch.arange(6.0, device="cuda").view(2, 3)
    assert x[torch.tensor([1])].tolist() == [[3.0, 4.0, 5.0]]
    x[torch.tensor([0])] = torch.tensor(9.0)
    assert x[0].tolist() == [9.0] * 3


def test_cuda_indices_into_a_cpu_tensor() -> None:
    message = "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        torch.arange(3)[torch.tensor([0], device="cuda")]


def test_composite_operators_raise_what_their_parts_raise() -> None:
    with pytest.raises(RuntimeError, match="wrapper_CUDA__index_select"):
        torch.nn.functional.embedding(torch.tensor([0]), on_cuda(3, 2))
    message = "Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        torch.nn.functional.conv1d(on_cuda(1, 1, 4), torch.ones(1, 1, 2))


def test_linear_with_weights_left_on_the_cpu() -> None:
    with pytest.raises(RuntimeError, match="wrapper_CUDA_addmm"):
        torch.nn.Linear(2, 2)(on_cuda(2, 2))


def test_numpy_of_a_cuda_tensor() -> None:
    message = (
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        on_cuda(2).numpy()


def test_generator_of_another_device() -> None:
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        torch.randn(2, device="cuda", generator=torch.Generator())


def test_two_cuda_devices(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        a, b = torch.ones(2, 2, device="cuda:0"), torch.ones(2, 2, device="cuda:1")
        def message(f):
            try:
                f()
            except RuntimeError as error:
                return str(error)
            raise SystemExit("no error")
        assert "found at least two devices, cuda:0 and cuda:1!" in message(lambda: a + b)
        assert "mat2 is on cuda:1, different from other tensors on cuda:0" in message(lambda: a @ b)
        index = torch.zeros(1, dtype=int, device="cuda:1")
        assert "same device as the indexed tensor (cuda:0)" in message(lambda: a[index])
        assert (a + b.to("cuda:0")).device == torch.device("cuda:0")
        assert (b + 1).device == torch.device("cuda:1")
        """,
        TORCHDEVICE_COUNT="2",
    )


@pytest.mark.parametrize("value", [0.5, torch.tensor(0.5)])
@pytest.mark.parametrize("method", ["masked_fill_", "masked_fill"])
def test_a_mask_on_the_cpu(method: str, value: object) -> None:
    x = on_cuda(2)
    message = "expected self and mask to be on the same device, but got mask on cpu and self on cuda:0"
    for mask in (torch.tensor([True, False]), torch.tensor(True)):
        with pytest.raises(RuntimeError, match=re.escape(message)):
            getattr(x, method)(mask, value)
    assert getattr(x, method)(torch.tensor([True, False], device="cuda"), value).tolist() == [0.5, 1.0]
