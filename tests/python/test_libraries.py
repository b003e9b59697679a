"""torch._C's names of cuBLAS, cuDNN and jiterator: settings are kept, versions agree, handles say why there are none.

Sizes and texts are those of torch's sources; they were not compared with a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.conftest import RunPython
from torchdevice import _C


@pytest.fixture
def workspaces() -> Iterator[None]:
    yield
    torch._C._cuda_resetCublasWorkspaceSize()
    torch._C._cuda_resetCublasLtWorkspaceSize()


def test_workspace_sizes_have_cublas_defaults_and_are_settable(workspaces: None) -> None:
    cuda = torch.backends.cuda
    assert cuda.cublas_workspace_size() == cuda.cublaslt_workspace_size() == 4096 * 1024 * 2 + 16 * 1024 * 8
    assert cuda.cublaslt_workspace_size(1024) == 1024
    assert cuda.cublas_workspace_size(2048) == 2048
    with pytest.raises(RuntimeError, match="workspace size must be non-negative, but got -1"):
        cuda.cublas_workspace_size(-1)
    torch._C._cuda_clearCublasWorkspaces()


@pytest.mark.parametrize(
    ("environment", "sizes"),
    [
        ({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}, "33554432 33554432"),
        ({"CUBLAS_WORKSPACE_CONFIG": ":16:8:4096:2"}, "8519680 8519680"),
        ({"CUBLASLT_WORKSPACE_SIZE": "2048"}, "8519680 2097152"),
        ({"TORCH_CUBLASLT_UNIFIED_WORKSPACE": "0"}, "8519680 1048576"),
        ({"TORCHDEVICE_PROFILE": "h100"}, "33554432 33554432"),
    ],
)
def test_workspace_sizes_from_the_environment(run_python: RunPython, environment: dict[str, str], sizes: str) -> None:
    code = "import torch; c = torch.backends.cuda; print(c.cublas_workspace_size(), c.cublaslt_workspace_size())"
    assert run_python(code, **environment).stdout.strip() == sizes


def test_library_handles_say_why_there_are_none() -> None:
    with pytest.raises(NotImplementedError, match=r"torch.cuda.current_blas_handle\(\).*without cuBLAS"):
        torch.cuda.current_blas_handle()
    with pytest.raises(NotImplementedError, match=r"without cuSOLVER"):
        torch.cuda.current_solver_handle()


def test_cudnn_is_there_by_name_only() -> None:
    cudnn = torch.backends.cudnn
    assert cudnn.is_available()
    major, minor, patch = torch._C._cudnn.getRuntimeVersion()
    assert torch._C._cudnn.getCompileVersion() == (major, minor, patch)
    assert _C.torch_is_cuda_build() or (major, minor, patch) == (9, 10, 2)
    assert cudnn.version() == 10000 * major + 100 * minor + patch
    assert torch._C._cudnn.is_cuda
    assert [cudnn.rnn.get_cudnn_mode(mode) for mode in ("RNN_RELU", "RNN_TANH", "LSTM", "GRU")] == [0, 1, 2, 3]
    assert cudnn.is_acceptable(torch.ones(1, device="cuda"))
    assert not cudnn.is_acceptable(torch.ones(1))
    # No operator of cuDNN is ever chosen.
    assert not torch._use_cudnn_rnn_flatten_weight()
    x = torch.ones(1, 3, 8, 8, device="cuda")
    assert torch.nn.Conv2d(3, 4, 3).cuda()(x).shape == (1, 4, 6, 6)
    assert torch.nn.BatchNorm2d(3).cuda()(x).shape == x.shape
    assert torch.nn.LSTM(3, 4, num_layers=2, dropout=0.5).cuda()(x[0, :, :, :3])[0].is_cuda


def test_cudnn_flags() -> None:
    cudnn = torch.backends.cudnn
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (True, False, False, True)
    assert cudnn.benchmark_limit == 10
    with cudnn.flags(enabled=True, benchmark=True, benchmark_limit=3, deterministic=True, allow_tf32=False):
        assert (cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic) == (True, 3, True)
        assert not cudnn.allow_tf32
    assert (cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic) == (False, 10, False)
    assert cudnn.conv.fp32_precision == cudnn.rnn.fp32_precision == "tf32"
    assert isinstance(cudnn, cudnn.CudnnModule)
    with pytest.raises(RuntimeError, match="set_benchmark_limit_cudnn expects an int, but got str"):
        torch._C._cuda_set_cudnn_benchmark_limit("10")
    assert torch._C._cuda_get_conv_benchmark_empty_cache() is True


def test_cusparselt_is_consistently_absent() -> None:
    if _C.torch_is_cuda_build():
        pytest.skip("this build of torch may have it: its version needs no GPU")
    cusparselt = torch.backends.cusparselt
    assert (cusparselt.is_available(), cusparselt.version(), cusparselt.get_max_alg_id()) == (False, None, None)


def test_jiterator_says_what_to_do_instead() -> None:
    function = torch.cuda.jiterator._create_jit_fn("template <typename T> T f(T x) { return x; }")
    with pytest.raises(
        NotImplementedError,
        match=r"torch\.cuda\.jiterator compiles CUDA C\+\+ for an NVIDIA GPU, and torchdevice computes on .*; "
        "write the function with torch operators instead of a CUDA code string",
    ):
        function(torch.ones(2, device="cuda"))
