"""What ATen asks of CUDA and, on a Mac, of MPS beside it; and that no question is left to torch's throwing defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Compile, RunPython
from torchdevice import _C


def test_accelerator_queries() -> None:
    assert torch._C._accelerator_getAccelerator() == torch.device("cuda")
    assert torch.accelerator.is_available()
    torch.accelerator.synchronize()
    assert torch.accelerator.current_device_index() == 0
    assert "float32" in str(torch.accelerator.get_device_capability())


def test_show_config_names_the_runtime() -> None:
    assert f"  - CUDA Runtime {torch.version.cuda} (torchdevice, native backend " in torch.__config__.show()


def test_fft_plan_cache() -> None:
    cache = torch.backends.cuda.cufft_plan_cache
    assert (cache.size, cache.max_size) == (0, 4096)
    try:
        cache.max_size = 10
        assert torch.backends.cuda.cufft_plan_cache[0].max_size == 10
        cache.clear()
        with pytest.raises(RuntimeError, match=r"^cuFFT plan cache size must be non-negative, but got -1$"):
            cache.max_size = -1
    finally:
        cache.max_size = 4096
    message = r"^cufft_get_plan_cache_max_size: expected 0 <= device_index < 1\], but got device_index=3$"
    with pytest.raises(RuntimeError, match=message):
        torch._cufft_get_plan_cache_max_size(3)


@pytest.mark.parametrize(
    ("choose", "names"),
    [
        (torch.backends.cuda.preferred_linalg_library, ["magma", "cusolver"]),
        (torch.backends.cuda.preferred_blas_library, ["cublas", "cublaslt"]),
    ],
)
def test_a_library_is_preferred(choose: Callable[..., object], names: list[str]) -> None:
    before = choose()
    try:
        for name in names:
            assert str(choose(name)).lower().endswith(f".{name}")
            torch.testing.assert_close(
                torch.linalg.inv(2 * torch.eye(2, device="cuda")), torch.eye(2, device="cuda") / 2
            )
    finally:
        choose(before)


def test_device_of_a_foreign_pointer() -> None:
    class Array:
        def __init__(self, address: int) -> None:
            self.__cuda_array_interface__ = {
                "shape": (2,),
                "typestr": "<f4",
                "data": (address, False),
                "version": 2,
            }

    x = torch.arange(4.0, device="cuda")
    y = torch.as_tensor(Array(x.data_ptr() + 4), device="cuda")
    assert y.tolist() == [1.0, 2.0]
    assert y.data_ptr() == x.data_ptr() + 4
    message = r"^The specified pointer resides on host memory and is not registered with any CUDA device.$"
    with pytest.raises(RuntimeError, match=message):
        torch.as_tensor(Array(torch.zeros(2).data_ptr()), device="cuda")


@pytest.fixture(scope="module")
def fake_mps(compile_cpp: Compile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes this torch look like one built with MPS."""
    library = tmp_path_factory.mktemp("fake_mps") / "fake_mps_hooks.so"
    return compile_cpp(Path(__file__).with_name("fake_mps_hooks.cpp"), library, "-shared", "-fPIC")


FAKE = """
    import ctypes, torch
    fake = ctypes.CDLL({library!r})
    fake.mps_recommended_memory.restype = ctypes.c_size_t
    fake.mps_elapsed.restype = ctypes.c_double
    fake.install_fake_mps_hooks()
    assert fake.mps_is_built() and fake.has_mps()
"""


def test_the_conflict_that_the_proxy_resolves(run_python: RunPython, fake_mps: Path) -> None:
    """Without the proxy torch refuses: hooks that come after activation are not ours to answer."""
    run_python(
        FAKE.format(library=str(fake_mps))
        + """
    try:
        torch.Stream()
    except RuntimeError as error:
        assert "Cannot have both MPS and" in str(error) or "both" in str(error), error
    else:
        raise AssertionError
        """
    )


@pytest.mark.skipif(_C.torch_is_cuda_build(), reason="no torch has both, but for ours on a Mac")
def test_mps_and_cuda_in_one_torch(run_python: RunPython, fake_mps: Path) -> None:
    run_python(
        FAKE.format(library=str(fake_mps))
        + """
    assert torch._C._accelerator_getAccelerator() == torch.device("mps")
    import torchdevice
    torchdevice.activate()
    assert torch._C._accelerator_getAccelerator() == torch.device("cuda")
    x = torch.ones(2, device="cuda", requires_grad=True)
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    y = torch.ones(2, requires_grad=True)
    (y * 3).sum().backward()
    assert torch.ones(2).pin_memory().is_pinned()
    assert torch.Stream().device == torch.device("cuda:0")
    torch.Event().record()

    assert not fake.mps_is_built()
    assert fake.has_mps()
    assert fake.mps_device_count() == 1
    assert fake.mps_is_macos(14, 2) and not fake.mps_is_macos(13, 0)
    assert fake.mps_recommended_memory() == 12345
    assert fake.mps_elapsed(2, 5) == 3.0
        """,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
        TORCHDEVICE_BACKEND="cpu",
    )
