"""A test file as PyTorch writes its own: `instantiate_device_type_tests` and every decorator of its device framework.

`python -m torchdevice suite` runs PyTorch's files themselves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.testing._internal import common_cuda
from torch.testing._internal.common_cuda import TEST_CUDA, tf32_on_and_off
from torch.testing._internal.common_device_type import (
    deviceCountAtLeast,
    dtypes,
    dtypesIfCUDA,
    expectedFailureMeta,
    get_all_device_types,
    instantiate_device_type_tests,
    largeTensorTest,
    onlyAccelerator,
    onlyCPU,
    onlyCUDA,
    onlyNativeDeviceTypes,
    onlyOn,
    ops,
    precisionOverride,
    skipCPUIf,
    skipCUDAIf,
    skipCUDAIfNoCusolver,
    skipCUDAIfNoMagma,
    skipMeta,
    tol,
    toleranceOverride,
)
from torch.testing._internal.common_dtype import floating_and_complex_types
from torch.testing._internal.common_methods_invocations import unary_ufuncs
from torch.testing._internal.common_modules import module_db, modules
from torch.testing._internal.common_optimizers import optim_db, optims
from torch.testing._internal.common_utils import TestCase, parametrize, run_tests

from tests.conftest import RunPython


class TestFramework(TestCase):
    def test_a_device(self, device: str) -> None:
        assert device == "cuda:0"
        assert torch.ones(2, device=device).sum().item() == 2

    @dtypes(*floating_and_complex_types())
    @dtypesIfCUDA(torch.float32, torch.bfloat16)
    @precisionOverride({torch.bfloat16: 1e-1})
    def test_dtypes(self, device: str, dtype: torch.dtype) -> None:
        assert dtype in {torch.float32, torch.bfloat16}
        x = torch.randn(3, 3, device=device, dtype=dtype)
        torch.testing.assert_close(x @ torch.eye(3, device=device, dtype=dtype), x)

    @parametrize("size", [0, 1, 5])
    def test_parametrized(self, device: str, size: int) -> None:
        assert torch.arange(size, device=device).numel() == size

    @ops([op for op in unary_ufuncs if "jiterator" not in op.name], allowed_dtypes=(torch.float32,))
    @toleranceOverride({torch.float32: tol(atol=1e-4, rtol=1e-4)})
    def test_operators(self, device: str, dtype: torch.dtype, op: Any) -> None:
        sample = next(iter(op.sample_inputs(device, dtype)))
        result = op(sample.input, *sample.args, **sample.kwargs)
        assert (result[0] if isinstance(result, tuple) else result).device.type == "cuda"

    @modules([info for info in module_db if info.module_cls in {torch.nn.Linear, torch.nn.GELU}])
    def test_modules(self, device: str, dtype: torch.dtype, module_info: Any, training: bool) -> None:
        for given in module_info.module_inputs_func(
            module_info, device=device, dtype=dtype, requires_grad=False, training=training
        ):
            module = module_info.module_cls(*given.constructor_input.args, **given.constructor_input.kwargs)
            module.to(device, dtype)(*given.forward_input.args, **given.forward_input.kwargs)

    @optims([info for info in optim_db if info.optim_cls is torch.optim.AdamW], dtypes=[torch.float32])
    def test_optimizers(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        for given in optim_info.optim_inputs_func(device=device):
            parameter = torch.nn.Parameter(torch.ones(3, device=device, dtype=dtype))
            parameter.grad = torch.ones_like(parameter)
            optim_info.optim_cls([parameter], **given.kwargs).step()

    @onlyCUDA
    @onlyAccelerator
    @onlyNativeDeviceTypes
    @onlyOn(["cuda"])
    @skipCPUIf(True, "never on the CPU")
    @skipCUDAIf(False, "never skipped")
    @skipMeta
    @expectedFailureMeta
    def test_chosen_for_cuda(self, device: str) -> None:
        assert torch.cuda.is_available()

    @onlyCPU
    def test_not_for_cuda(self, device: str) -> None:
        raise AssertionError

    @skipCUDAIfNoMagma
    @skipCUDAIfNoCusolver
    def test_linear_algebra(self, device: str) -> None:
        assert torch.linalg.inv(torch.eye(3, device=device) * 2)[0, 0].item() == 0.5

    @deviceCountAtLeast(1)
    def test_devices(self, devices: list[str]) -> None:
        assert devices[0] == "cuda:0"
        assert len(devices) == torch.cuda.device_count()

    @largeTensorTest("1GB")
    @tf32_on_and_off(0.05)
    def test_wants_memory(self, device: str) -> None:
        assert torch.zeros(1 << 18, device=device).sum().item() == 0


instantiate_device_type_tests(TestFramework, globals(), only_for="cuda")


class TestFlags(TestCase):
    def test_what_the_framework_asks(self) -> None:
        assert TEST_CUDA
        assert "cuda" in get_all_device_types()
        assert common_cuda.SM80OrLater == (torch.cuda.get_device_capability() >= (8, 0))
        assert common_cuda.PLATFORM_SUPPORTS_FUSED_ATTENTION


def test_memory_that_leaks_is_seen(run_python: RunPython) -> None:
    """The check looks at the device's free memory: the host's, which others use too, unless it is fixed."""
    program = """
    import torch
    from torch.testing._internal.common_utils import CudaMemoryLeakCheck, TestCase
    case, kept = TestCase(), []
    try:
        with CudaMemoryLeakCheck(case, "leak"):
            kept.append(torch.ones(1 << 22, device="cuda"))
    except RuntimeError as error:
        assert "leak" in str(error), error
    else:
        raise AssertionError("not seen")
    with CudaMemoryLeakCheck(case, "no leak"):
        torch.ones(10, device="cuda")
    """
    run_python(program, TORCHDEVICE_MEMORY="1GiB")


if __name__ == "__main__":
    run_tests()
