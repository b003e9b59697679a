"""The host has no memory left, or a program's own allocator throws: an error, and CUDA works on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunPython

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, as Linux does")


@linux_only
@pytest.mark.parametrize("context", ["None", "'state'", "'all'"])
def test_no_memory_left_with_memory_history(run_python: RunPython, context: str) -> None:
    """In steps of a few hundred KiB, so that it runs out in many places."""
    run_python(
        f"""
        import resource, torch
        torch.ones(1 << 18, device="cuda")  # libgomp ends the process where it cannot start its threads
        torch.cuda.memory._record_memory_history(context={context})
        unlimited = resource.getrlimit(resource.RLIMIT_AS)

        def used():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[0]) * resource.getpagesize()

        def work(kept, n):
            for i in range(400):
                kept.append(torch.ones(1 << (i % 19), device="cuda"))
                if i % 3 == n % 3:
                    kept.pop(len(kept) // 2)

        failures = 0
        for n in range(60):
            kept = []
            resource.setrlimit(resource.RLIMIT_AS, (used() + n * 300_000, unlimited[1]))
            try:
                work(kept, n)
            except (RuntimeError, MemoryError) as error:
                # std::bad_alloc: torch had no memory for an object of its own
                assert isinstance(error, (torch.OutOfMemoryError, MemoryError)) or str(error) == "std::bad_alloc", error
                failures += 1
            finally:
                resource.setrlimit(resource.RLIMIT_AS, unlimited)
                kept.clear()
                torch.cuda.empty_cache()
        assert failures > 10, failures
        assert torch.cuda.memory_allocated() == 0
        x = torch.ones(1000, device="cuda")
        assert x.sum() == 1000
        snapshot = torch.cuda.memory._snapshot()
        assert snapshot["device_traces"][0][-1]["action"]
        """
    )


ALLOCATOR = """
    #include <cstdlib>
    #include <stdexcept>
    #include <sys/types.h>
    extern "C" {
    int throwing;
    long releases;
    void* take(ssize_t size, int, void*) {
      if (throwing) throw std::runtime_error("no more");
      return malloc(size);
    }
    void give(void* memory, size_t, int, void*) {
      ++releases;
      free(memory);
      if (throwing) throw std::runtime_error("not wanted");
    }
    }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared library with an allocator that throws when it is told to."""
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        pytest.skip("no C++ compiler")
    built = tmp_path_factory.mktemp("allocator") / "allocator.so"
    command = [compiler, "-shared", "-fPIC", "-x", "c++", "-", "-o", str(built)]
    subprocess.run(command, input=ALLOCATOR, text=True, check=True)
    return built


def test_a_program_s_own_allocator_that_throws(run_python: RunPython, library: Path) -> None:
    """For a pool: what it throws is the error of the allocation, and the device's memory is usable, by threads too."""
    process = run_python(
        f"""
        import ctypes, threading, torch
        own = ctypes.CDLL({str(library)!r})
        throwing = ctypes.c_int.in_dll(own, "throwing")
        allocator = torch.cuda.memory.CUDAPluggableAllocator({str(library)!r}, "take", "give")
        pool = torch.cuda.MemPool(allocator.allocator())
        throwing.value = 1
        for _ in range(3):
            with torch.cuda.use_mem_pool(pool):
                try:
                    torch.ones(100, device="cuda")
                except RuntimeError as error:
                    assert str(error) == "no more", error
                else:
                    raise AssertionError
        throwing.value = 0
        before = torch.cuda.memory_reserved()
        with torch.cuda.use_mem_pool(pool):
            x = torch.ones(100, device="cuda")
        assert x.sum() == 100
        del x
        throwing.value = 1
        del pool
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            assert str(error) == "not wanted", error
        throwing.value = 0
        torch.cuda.empty_cache()
        assert torch.cuda.memory_reserved() == before

        def work():
            for _ in range(200):
                assert torch.ones(1000, device="cuda").sum() == 1000

        threads = [threading.Thread(target=work) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join(60) for thread in threads]
        assert not any(thread.is_alive() for thread in threads)
        """
    )
    assert "terminate" not in process.stderr


def test_a_program_s_only_allocator_that_throws(run_python: RunPython, library: Path) -> None:
    """In place of CUDA's: a tensor's end is no place for an error."""
    process = run_python(
        f"""
        import ctypes, torch
        own = ctypes.CDLL({str(library)!r})
        throwing, releases = ctypes.c_int.in_dll(own, "throwing"), ctypes.c_long.in_dll(own, "releases")
        allocator = torch.cuda.memory.CUDAPluggableAllocator({str(library)!r}, "take", "give")
        torch.cuda.memory.change_current_allocator(allocator)
        x = torch.ones(100, device="cuda")
        throwing.value = 1
        try:
            torch.ones(100, device="cuda")
        except RuntimeError as error:
            assert str(error) == "no more", error
        else:
            raise AssertionError
        before = releases.value
        del x
        assert releases.value == before + 1
        throwing.value = 0
        assert torch.ones(100, device="cuda").sum() == 100
        """
    )
    assert "terminate" not in process.stderr
