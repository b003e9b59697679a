"""Devices: how many there are, which one is current, what they say of themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
import torch

from tests.conftest import RunPython
from torchdevice import _C

BAD_ORDINAL = (
    "CUDA error: invalid device ordinal\n"
    "GPU device may be out of range, do you have enough GPUs?\n"
    "For more detailed error information, run with CUDA_LOG_FILE=stderr\n"
)


def test_cuda_is_there() -> None:
    assert torch.cuda.is_available()
    assert torch.backends.cuda.is_built()
    major, minor = map(int, torch.version.cuda.split("."))
    assert torch._C._cuda_getCompiledVersion() == 1000 * major + 10 * minor
    assert _C.torch_is_cuda_build() or (major, minor) == (12, 6)
    assert torch.cuda.device_count() == 1
    assert torch.cuda.current_device() == 0
    assert torch.accelerator.current_accelerator() == torch.device("cuda")
    assert torch.accelerator.device_count() == 1


@pytest.mark.parametrize("action", [lambda: torch.ones(1, device="cuda:1"), lambda: torch.cuda.set_device(1)])
def test_bad_ordinal_raises_as_cuda(action: Callable[[], object]) -> None:
    with pytest.raises(torch.AcceleratorError) as caught:
        action()
    assert str(caught.value) == BAD_ORDINAL
    assert caught.value.error_code == 101


def test_bad_ordinal_in_device_context() -> None:
    with pytest.raises(torch.AcceleratorError, match=r"invalid device ordinal"), torch.cuda.device(7):
        pass
    assert torch.cuda.current_device() == 0


def test_bad_ordinal_in_queries() -> None:
    with pytest.raises(AssertionError, match=r"Invalid device id"):
        torch.cuda.get_device_properties(1)
    with pytest.raises(AssertionError, match=r"Invalid peer device id"):
        torch.cuda.can_device_access_peer(0, 1)
    with pytest.raises(RuntimeError, match=r"^Device index value 5 is out of index range \[0, 1\)$"):
        torch.cuda.current_stream(5)
    with pytest.raises(RuntimeError, match=r"Overflow when unpacking DeviceIndex"):
        torch._C._cuda_setDevice(1000)
    with pytest.raises(RuntimeError, match=r"invalid argument to setDevice"):
        torch._C._cuda_setDevice("0")


def test_negative_device_changes_nothing() -> None:
    torch.cuda.set_device(-1)
    with torch.cuda.device(-1), torch.cuda.device(None):
        assert torch.cuda.current_device() == 0
    assert torch._C._cuda_exchangeDevice(-1) == -1


def test_properties_are_the_hosts_and_agree() -> None:
    properties = torch.cuda.get_device_properties()
    assert properties is torch.cuda.get_device_properties(0), "programs compare them"
    assert properties.name == torch.cuda.get_device_name() == properties.gcnArchName != ""
    assert properties.total_memory == torch.cuda.mem_get_info()[1]
    assert properties.multi_processor_count <= (os.cpu_count() or 1)
    assert (properties.major, properties.minor) == torch.cuda.get_device_capability() == (8, 0)
    assert properties.is_integrated == 1
    assert properties.warp_size == 32
    assert properties.shared_memory_per_multiprocessor > properties.shared_memory_per_block_optin
    assert bytes(properties.uuid.bytes).startswith(b"torchdevice")
    assert str(properties.uuid) == "746f7263-6864-6576-6963-650000000000"
    assert repr(properties).startswith(
        f"_CudaDeviceProperties(name='{properties.name}', major=8, minor=0, total_memory="
    )
    assert type(properties).__module__ == "torch._C"
    assert torch.cuda.is_bf16_supported(including_emulation=False)


def test_free_memory_is_within_the_total() -> None:
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total
    assert torch.accelerator.get_memory_info(0)[1] == total


def test_sync_debug_mode() -> None:
    try:
        torch.cuda.set_sync_debug_mode("error")
        assert torch.cuda.get_sync_debug_mode() == 2
        with pytest.raises(RuntimeError, match=r"^called a synchronizing CUDA operation"):
            torch.cuda.current_stream().synchronize()
        torch.cuda.set_sync_debug_mode("warn")
        with pytest.warns(UserWarning, match=r"called a synchronizing CUDA operation"):
            torch.cuda.current_stream().synchronize()
        with pytest.raises(RuntimeError, match=r"invalid value of debug_mode, expected one of 0,1,2"):
            torch._C._cuda_set_sync_debug_mode(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.current_stream().synchronize()


def test_small_functions() -> None:
    torch.cuda.synchronize()
    torch.cuda.synchronize("cuda:0")
    torch.cuda._sleep(1000)
    torch.cuda.ipc_collect()
    assert torch.cuda.has_magma
    assert not torch.cuda.is_current_stream_capturing()
    torch.cuda.profiler.start()
    torch.cuda.profiler.stop()
    cudart = torch.cuda.cudart()
    assert cudart.cudaError(0) == cudart.cudaError.success
    assert cudart.cudaGetErrorString(cudart.cudaError(101)) == "invalid device ordinal"
    assert str(torch.cuda.CudaError(2)) == "out of memory (2)"


def test_nvtx_ranges_nest() -> None:
    assert [torch.cuda.nvtx.range_push("a"), torch.cuda.nvtx.range_push("b")] == [0, 1]
    assert [torch.cuda.nvtx.range_pop(), torch.cuda.nvtx.range_pop()] == [1, 0]
    assert torch.cuda.nvtx.range_pop() < 0
    first, second = torch.cuda.nvtx.range_start("c"), torch.cuda.nvtx.range_start("d")
    assert first != second
    torch.cuda.nvtx.range_end(second)
    torch.cuda.nvtx.mark("e")
    with torch.cuda.nvtx.range("f"):
        pass


def test_current_device_is_the_threads_own(run_python: RunPython) -> None:
    run_python(
        """
        import threading, torch
        torch.cuda.set_device(1)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.cuda.current_device()))
        thread.start(); thread.join()
        assert seen == [0] and torch.cuda.current_device() == 1
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_several_devices(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        torch.cuda.init()
        assert torch.cuda.device_count() == 3 == len(torch.cuda.default_generators)
        with torch.cuda.device(1):
            assert torch.cuda.current_device() == 1
            assert torch.ones(1, device="cuda").device == torch.device("cuda:1")
            with torch.cuda.device("cuda:2"):
                assert torch.accelerator.current_device_index() == 2
            assert torch.cuda.current_device() == 1
        assert torch.cuda.current_device() == 0
        with torch.cuda.device_of(torch.ones(1, device="cuda:2")):
            assert torch.cuda.current_device() == 2
        assert torch.cuda.can_device_access_peer(0, 1) and not torch.cuda.can_device_access_peer(1, 1)
        assert len({str(torch.cuda.get_device_properties(i).uuid) for i in range(3)}) == 3
        x = torch.ones(2, device="cuda:1", requires_grad=True)
        (x.to("cuda:2") * 3).sum().backward()
        assert x.grad.device == torch.device("cuda:1") and x.grad.tolist() == [3.0, 3.0]
        """,
        TORCHDEVICE_COUNT="3",
    )


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("2,0", ["02", "00"]),
        ("1", ["01"]),
        (" 1gpu, +0", ["01", "00"]),
        ("0,7,1", ["00"]),
        ("1,-1,0", ["01"]),
        ("GPU-746f7263-6864-6576-6963-650000000002", ["02"]),
        ("", []),
        ("-1", []),
        ("0,0", []),
        ("GPU-7", []),
        ("MIG-1", []),
        ("none", []),
    ],
)
def test_cuda_visible_devices(run_python: RunPython, visible: str, uuids: list[str]) -> None:
    """The count is the same before and after initialisation, from torch's parser and from ours."""
    run_python(
        f"""
        import torch
        expected = {uuids!r}
        assert torch.cuda.device_count() == len(expected), torch.cuda.device_count()
        assert not torch.cuda.is_initialized()
        assert torch.cuda.is_available() == bool(expected)
        assert torch._C._cuda_getDeviceCount() == len(expected)
        if expected:
            torch.cuda.init()
            assert torch.cuda.device_count() == len(expected)
            found = [str(torch.cuda.get_device_properties(i).uuid)[-2:] for i in range(len(expected))]
            assert found == expected, found
        else:
            try:
                torch.cuda.init()
            except RuntimeError as error:
                assert str(error) == "No CUDA GPUs are available", error
            else:
                raise AssertionError("initialised without a device")
        """,
        TORCHDEVICE_COUNT="3",
        CUDA_VISIBLE_DEVICES=visible,
    )


def test_visible_devices_set_after_import(run_python: RunPython) -> None:
    run_python(
        """
        import os, torch
        os.environ["CUDA_VISIBLE_DEVICES"] = "1"
        assert torch.cuda.device_count() == 1
        assert str(torch.cuda.get_device_properties(0).uuid).endswith("01")
        """,
        TORCHDEVICE_COUNT="2",
    )


@pytest.mark.parametrize("count", ["0", "65", "-1", "two"])
def test_bad_count_is_one_clear_warning(run_python: RunPython, count: str) -> None:
    process = run_python("import torch; print(torch.cuda.is_available())", TORCHDEVICE_COUNT=count)
    assert process.stdout == "False\n"
    assert f"TORCHDEVICE_COUNT must be an integer from 1 to 64, but it is '{count}'" in process.stderr


def test_capability_setting(run_python: RunPython) -> None:
    process = run_python(
        """
        import warnings
        warnings.simplefilter("error")
        import torch
        torch.cuda.init()
        print(torch.cuda.get_device_capability())
        """,
        TORCHDEVICE_CAPABILITY="8.9",
    )
    assert process.stdout == "(8, 9)\n"
    process = run_python("import torch; print(torch.cuda.is_available())", TORCHDEVICE_CAPABILITY="new")
    assert "TORCHDEVICE_CAPABILITY must be a compute capability from 5.0 on, but it is 'new'" in process.stderr


FORKED = """
    import os, torch
    torch.ones(1, device="cuda")
    child = os.fork()
    if child == 0:
        try:
            x = torch.ones(2, device="cuda") + 1
            print(x.tolist(), flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    assert not torch.cuda._is_in_bad_fork()
"""


def test_forked_child_is_refused_as_by_cuda(run_python: RunPython) -> None:
    assert run_python(FORKED).stdout == (
        "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' "
        "start method\n"
    )


def test_forked_child_may_be_allowed(run_python: RunPython) -> None:
    assert run_python(FORKED, TORCHDEVICE_FORK="allow").stdout == "[2.0, 2.0]\n"


def test_primary_context_follows_use(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        torch.ones(1, device="cuda:1")
        assert [torch._C._cuda_hasPrimaryContext(i) for i in range(3)][1:] == [True, False]
        try:
            torch._C._cuda_hasPrimaryContext(3)
        except RuntimeError as error:
            assert str(error).startswith("hasPrimaryContext expects a valid device index, but got device_index=3")
        else:
            raise AssertionError
        """,
        TORCHDEVICE_COUNT="3",
    )


def test_many_threads_change_devices_at_once(run_python: RunPython) -> None:
    run_python(
        """
        import threading, torch
        torch.cuda.init()
        errors = []
        def work(index):
            try:
                for _ in range(300):
                    with torch.cuda.device(index):
                        assert torch.ones(1, device="cuda").get_device() == index
                        assert torch.cuda.current_stream().device_index == index
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=work, args=(i % 4,)) for i in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert not errors, errors
        """,
        TORCHDEVICE_COUNT="4",
    )


def test_initialisation_from_many_threads_happens_once(run_python: RunPython) -> None:
    run_python(
        """
        import threading, torch
        results = []
        def work():
            results.append(torch.ones(1, device="cuda").item())
        threads = [threading.Thread(target=work) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert results == [1.0] * 8
        """
    )


def test_seeds_set_before_initialisation_survive(run_python: RunPython) -> None:
    run_python("import torch; torch.manual_seed(5); assert torch.cuda.initial_seed() == 5")


def test_device_in_a_thread_without_cuda_use() -> None:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.cuda.current_device()))
    thread.start()
    thread.join()
    assert seen == [0]
