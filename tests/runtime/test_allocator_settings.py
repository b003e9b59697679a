"""PYTORCH_ALLOC_CONF, PYTORCH_CUDA_ALLOC_CONF and _set_allocator_settings.

Texts are those of c10/core/AllocatorConfig.cpp and c10/cuda/CUDAAllocatorConfig.cpp.
"""

from __future__ import annotations

import pytest
import torch

from tests.conftest import RunPython

BAD = [
    ("nonsense:1", "Unrecognized key 'nonsense' in Accelerator allocator config."),
    ("backend:foo", "Unknown allocator backend, options are native and cudaMallocAsync"),
    ("max_split_size_mb:5", "CachingAllocator option max_split_size_mb too small, must be >= 20"),
    ("garbage_collection_threshold:2", "garbage_collect_threshold is invalid, set it in (0.0, 1.0)"),
    ("per_process_memory_fraction:3", "per_process_memory_fraction is invalid, set it in [0.0, 1.0]"),
    ("pinned_num_register_threads:3", "Number of register threads has to be power of 2, got 3"),
    ("pinned_num_register_threads:256", "Number of register threads should be less than or equal to 128, got 256"),
    ("pinned_reserve_segment_size_mb:0", "Pinned reserve segment size has to be greater than 0"),
    ("throw_on_cudamalloc_oom:yes", "Expected 'True' or 'False' at index 2 in ConfigTokenizer but got 'yes'"),
    ("expandable_segments:yes", "Expected 'True' or 'False' at index 2 in ConfigTokenizer but got 'yes'"),
    ("roundup_power2_divisions:3", "For roundups, the divisions has to be power of 2"),
]


def test_bad_settings_raise_torchs_errors(run_python: RunPython) -> None:
    run_python(f"""
        import torch
        torch.cuda.init()
        for settings, message in {BAD!r}:
            try:
                torch._C._accelerator_setAllocatorSettings(settings)
                raise SystemExit(f"no error for {{settings}}")
            except ValueError as error:
                assert str(error).startswith(message), (settings, error)
    """)


@pytest.mark.parametrize("variable", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_bad_settings_of_the_environment_raise_at_the_first_allocation(run_python: RunPython, variable: str) -> None:
    run_python(
        """
        import torch
        for _ in range(2):
            try:
                torch.empty(1, device="cuda")
                raise SystemExit("no error")
            except ValueError as error:
                assert str(error).startswith("Unrecognized key 'nonsense' in Accelerator allocator config."), error
        """,
        **{variable: "nonsense:1"},
    )


def test_settings_can_change_while_the_program_runs(run_python: RunPython) -> None:
    run_python("""
        import torch, warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.memory._set_allocator_settings("max_split_size_mb:40,per_process_memory_fraction:0.25")
        assert caught[0].category is FutureWarning
        assert abs(torch.cuda.get_per_process_memory_fraction() - 0.25) < 1e-6
        torch.empty(1, device="cuda")
        assert torch.cuda.memory_stats()["max_split_size"] == 40 << 20
        torch._C._accelerator_setAllocatorSettings(
            "pinned_num_register_threads:8,release_lock_on_cudamalloc:True,graph_capture_record_stream_reuse:True")
        settings = torch.cuda.memory._snapshot()["allocator_settings"]
        assert settings["PYTORCH_CUDA_ALLOC_CONF"].startswith("pinned_num_register_threads:8")
        assert settings["pinned_num_register_threads"] == 8
        assert settings["release_lock_on_cudamalloc"] is settings["graph_capture_record_stream_reuse"] is True
        assert settings["pinned_use_cuda_host_register"] is False
    """)


def test_garbage_is_collected_above_the_threshold(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from tests.memory import MIB, raw_mib
        torch.cuda.set_per_process_memory_fraction(1.0)
        old, young = raw_mib(20), raw_mib(30)
        del old
        for _ in range(3):
            del young
            young = raw_mib(30)
        del young
        assert torch.cuda.memory_reserved() == 50 * MIB
        x = raw_mib(40)  # 50 of 100 MiB do not exceed the threshold
        assert torch.cuda.memory_reserved() == 90 * MIB
        y = raw_mib(42)  # 30 MiB must go: the older block is not enough, the younger follows
        assert torch.cuda.memory_reserved() == 82 * MIB
        stats = torch.cuda.memory_stats()
        assert stats["num_device_free"] == 2 and stats["num_alloc_retries"] == 0
        """,
        TORCHDEVICE_MEMORY="100MiB",
        PYTORCH_CUDA_ALLOC_CONF="garbage_collection_threshold:0.6",
    )


def test_only_the_oldest_garbage_goes(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from tests.memory import MIB, raw_mib
        torch.cuda.set_per_process_memory_fraction(1.0)
        old, young = raw_mib(30), raw_mib(20)
        del old
        for _ in range(3):
            del young
            young = raw_mib(20)
        address = young.data_ptr()
        del young
        kept = raw_mib(10 * 2)
        assert kept.data_ptr() == address
        del kept
        x = raw_mib(34)
        assert torch.cuda.memory_reserved() == 84 * MIB
        y = raw_mib(36)
        assert raw_mib(20).data_ptr() == address, "the younger block stays"
        """,
        TORCHDEVICE_MEMORY="200MiB",
        PYTORCH_CUDA_ALLOC_CONF="garbage_collection_threshold:0.3",
    )


def test_oversize_blocks_are_given_back_before_everything_else(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from tests.memory import MIB, raw_mib
        small_cache = raw_mib(1)
        a, b = raw_mib(50), raw_mib(30)
        del a, b, small_cache
        assert torch.cuda.memory_reserved() == 82 * MIB
        x = raw_mib(76)  # needs both oversize blocks; the small segment stays in the cache
        stats = torch.cuda.memory_stats()
        assert stats["num_alloc_retries"] == 0 and stats["num_device_free"] == 2
        assert torch.cuda.memory_reserved() == 78 * MIB
        """,
        TORCHDEVICE_MEMORY="100MiB",
        PYTORCH_CUDA_ALLOC_CONF="max_split_size_mb:25",
    )


def test_rejections_are_counted(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        try:
            torch.empty(200 << 20, dtype=torch.uint8, device="cuda")
            raise SystemExit("no error")
        except torch.OutOfMemoryError:
            pass
        assert torch.cuda.memory_stats()["num_oom_rejections"] == 1
        """,
        TORCHDEVICE_MEMORY="100MiB",
        PYTORCH_CUDA_ALLOC_CONF="throw_on_cudamalloc_oom:True,per_process_memory_fraction:0.9",
    )


def test_the_default_rejects_nothing() -> None:
    torch.ones(1, device="cuda")
    assert torch.cuda.memory_stats()["num_oom_rejections"] == 0
