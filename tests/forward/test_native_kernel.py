"""The native kernel that a forwarded operator calls is the one that the dispatcher would call now."""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.conftest import RunPython
from torchdevice import _C


@pytest.fixture
def native_key() -> str:
    return _C.native_backend_name().upper()


@pytest.mark.filterwarnings("ignore:Warning only once for all operators")
def test_a_kernel_registered_after_the_first_call_is_called_until_it_is_taken_back(native_key: str) -> None:
    x = torch.tensor([0.5, 2.0], device="cuda")
    expected = torch.special.erfcx(x)
    seen = []

    def kernel(native: torch.Tensor) -> torch.Tensor:
        seen.append(native.device.type)
        return torch.full_like(native, 7)

    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is replaced, which is the purpose
        library.impl("special_erfcx", kernel, native_key)
    try:
        assert torch.special.erfcx(x).tolist() == [7, 7]
        assert torch.special.erfcx(x).is_cuda
    finally:
        library._destroy()
    assert seen == [native_key.lower()] * 2
    assert torch.equal(torch.special.erfcx(x), expected)


def test_threads_that_call_an_operator_for_the_first_time(run_python: RunPython) -> None:
    run_python(
        """
        import threading
        import torch

        x = torch.full((4,), 0.5, device="cuda")
        gate = threading.Barrier(8)
        results = []
        def call():
            gate.wait()
            results.append(torch.erfinv(torch.sin(torch.digamma(x))))
        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(results) == 8
        assert all(torch.equal(results[0], result) for result in results)
        """
    )
