"""TORCHDEVICE_MEMORY: devices with less memory than the machine, and what happens at their limit."""

from __future__ import annotations

import pytest

from tests.conftest import RunPython


@pytest.mark.parametrize(
    ("setting", "nbytes"),
    [
        ("64mib", 64 << 20),
        ("0.25 GiB", 256 << 20),
        ("64MB", 64_000_000),
        ("70000000", 70_000_000),
    ],
)
def test_total_memory_follows_the_setting(run_python: RunPython, setting: str, nbytes: int) -> None:
    run_python(
        f"""
        import torch
        assert torch.cuda.get_device_properties(0).total_memory == {nbytes}
        free, total = torch.cuda.mem_get_info()
        assert free == total == {nbytes}
        assert torch.accelerator.get_memory_info(0)[1] == {nbytes}
        """,
        TORCHDEVICE_MEMORY=setting,
    )


def test_more_than_the_machine_has_is_what_it_has(run_python: RunPython) -> None:
    code = "import torch; print(torch.cuda.get_device_properties(0).total_memory)"
    plain = run_python(code, TORCHDEVICE_MEMORY=None).stdout
    assert run_python(code, TORCHDEVICE_MEMORY="1000TiB").stdout == plain


@pytest.mark.parametrize("setting", ["8 Gigabytes", "-1GiB", "1MiB", "1e9"])
def test_a_bad_setting_keeps_torchdevice_out_and_says_why(run_python: RunPython, setting: str) -> None:
    process = run_python("import torch; assert not torch.cuda.is_available()", TORCHDEVICE_MEMORY=setting)
    assert (
        "torchdevice is not active: activation failed: ValueError: TORCHDEVICE_MEMORY must be a size of at least 2MiB, "
        f"such as 8GiB, 500MB or a number of bytes, but it is '{setting}'"
    ) in process.stderr


def test_an_explicit_activation_raises_for_a_bad_setting(run_python: RunPython) -> None:
    process = run_python(
        "import torchdevice_ext", check=False, TORCHDEVICE_MEMORY="lots", TORCH_DEVICE_BACKEND_AUTOLOAD="0"
    )
    assert "ValueError: TORCHDEVICE_MEMORY must be a size of at least 2MiB" in process.stderr
    assert process.returncode != 0


def test_the_limit_raises_cudas_error_and_the_program_goes_on(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from tests.memory import MIB, raw_mib
        kept = raw_mib(50).fill_(7)
        cached = raw_mib(30)
        del cached
        assert torch.cuda.mem_get_info() == (20 * MIB, 100 * MIB)
        x = raw_mib(40)  # only after the cache has been given back
        assert torch.cuda.memory_stats()["num_alloc_retries"] == 1
        assert torch.cuda.memory_reserved() == 90 * MIB
        try:
            raw_mib(20)
            raise SystemExit("no error")
        except torch.OutOfMemoryError as error:
            assert str(error) == (
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 100.00 MiB of which "
                "10.00 MiB is free. Of the allocated memory 90.00 MiB is allocated by PyTorch, and 0 bytes is reserved "
                "by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
                "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for "
                "Memory Management  (https://docs.pytorch.org/docs/stable/notes/cuda.html"
                "#optimizing-memory-usage-with-pytorch-cuda-alloc-conf)"
            ), error
        assert torch.cuda.memory_stats()["num_ooms"] == 1
        del x
        assert raw_mib(20).numel() == 20 * MIB and kept[::1000].sum().item() == 7 * 52429
        big = torch.ones(4 * MIB, device="cuda")  # 16 MiB
        try:
            torch.cat([big] * 4)
            raise SystemExit("no error")
        except torch.OutOfMemoryError:
            pass
        assert big.sum().item() == 4 * MIB
        other = raw_mib(90, "cuda:1")  # the other device has its own
        torch.cuda.set_per_process_memory_fraction(0.75)
        assert torch.cuda.get_per_process_memory_fraction() == 0.75
        try:
            raw_mib(26)
            raise SystemExit("no error")
        except torch.OutOfMemoryError as error:
            assert " is free. 75.00 MiB allowed; Of the allocated memory" in str(error), error
        """,
        TORCHDEVICE_MEMORY="100MiB",
        TORCHDEVICE_COUNT="2",
    )


def test_memory_around_the_cache_is_limited_too(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        x = torch.empty(60 << 20, dtype=torch.uint8, device="cuda")
        try:
            torch.empty(60 << 20, dtype=torch.uint8, device="cuda")
            raise SystemExit("no error")
        except RuntimeError as error:
            assert "CUDA error: out of memory" in str(error), error
        del x
        torch.empty(60 << 20, dtype=torch.uint8, device="cuda")
        """,
        TORCHDEVICE_MEMORY="100MiB",
        PYTORCH_NO_CUDA_MEMORY_CACHING="1",
    )
