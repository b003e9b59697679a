"""No virtual function of a class that we override by hand goes unnoticed: a new one would silently answer for torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.internals.virtuals import complaints, declared, overridden, virtuals_of

INCLUDE = Path(torch.__file__).parent / "include"

ACCELERATOR_HOOKS = ("ATen/detail/AcceleratorHooksInterface.h", "AcceleratorHooksInterface")
ALLOCATOR = ("c10/core/Allocator.h", "Allocator")
DEVICE_ALLOCATOR = ("c10/core/CachingDeviceAllocator.h", "DeviceAllocator")

ROCM = "compiled for ROCm alone"
PLAIN = "torch's answer is right where a pointer is its own context"
NO_PINNED_POOLS = "a graph's pinned memory is not kept apart here, and nobody asks"
FORWARDED = "torch's calls the older name, which is overridden"
OURS_ASK = "asked by torch._C's functions of CUDA, which are ours and ask allocator/PinnedMemory.h"
NOT_OVER_GLOO = "torch's class says that the backend has no such thing, and NCCL over gloo has not"


class Overridden(NamedTuple):
    """A class of torch's with its bases, ours with its bases, and what ours leaves to torch's, with the reasons."""

    torchs: tuple[tuple[str, str], ...]
    ours: tuple[tuple[str, str], ...]
    left: dict[str, str]


CLASSES = {
    "Hooks": Overridden(
        (("ATen/detail/CUDAHooksInterface.h", "CUDAHooksInterface"), ACCELERATOR_HOOKS),
        (("hooks/Hooks.cpp", "Hooks"),),
        {"isGPUArch/2": ROCM, "getHipblasltPreferredArchs/0": ROCM, "getHipblasltSupportedArchs/0": ROCM},
    ),
    "MpsProxy": Overridden(
        (("ATen/detail/MPSHooksInterface.h", "MPSHooksInterface"), ACCELERATOR_HOOKS),
        (("native/mps/MpsProxy.cpp", "MpsProxy"),),
        {},
    ),
    "Guard": Overridden(
        (("c10/core/impl/DeviceGuardImplInterface.h", "DeviceGuardImplInterface"),), (("hooks/Guard.cpp", "Guard"),), {}
    ),
    "PooledAllocator": Overridden(
        (DEVICE_ALLOCATOR, ALLOCATOR),
        (
            ("allocator/CachingAllocator.cpp", "PooledAllocator"),
            ("allocator/CachingAllocator.h", "CachingAllocator"),
        ),
        {"is_simple_data_ptr/1": PLAIN},
    ),
    "MpsMemory": Overridden(
        (DEVICE_ALLOCATOR, ALLOCATOR),
        (("native/mps/MpsMemory.h", "MpsMemory"), ("allocator/CachingAllocator.h", "CachingAllocator")),
        {"is_simple_data_ptr/1": PLAIN},
    ),
    "CpuAllocator": Overridden((ALLOCATOR,), (("allocator/CpuAllocator.cpp", "CpuAllocator"),), {}),
    "PinnedAllocator": Overridden(
        (("ATen/core/CachingHostAllocator.h", "HostAllocator"), ALLOCATOR),
        (("allocator/PinnedMemory.cpp", "PinnedAllocator"),),
        {
            "is_simple_data_ptr/1": PLAIN,
            "begin_allocate_to_pool/2": NO_PINNED_POOLS,
            "end_allocate_to_pool/1": NO_PINNED_POOLS,
            "release_pool/1": NO_PINNED_POOLS,
        },
    ),
    "CudaGenerator": Overridden(
        (("c10/core/GeneratorImpl.h", "GeneratorImpl"),), (("runtime/Generator.h", "CudaGenerator"),), {}
    ),
    "Profiler": Overridden(
        (("torch/csrc/profiler/stubs/base.h", "ProfilerStubs"),), (("hooks/Profiler.cpp", "Profiler"),), {}
    ),
    "AcceleratorGraph": Overridden(
        (("ATen/core/GraphImplInterface.h", "GraphImplInterface"),),
        (("graph/AcceleratorGraph.cpp", "AcceleratorGraph"),),
        {},
    ),
    "ProcessGroupNCCL": Overridden(
        (("torch/csrc/distributed/c10d/Backend.hpp", "Backend"),),
        (("distributed/ProcessGroupNCCL.h", "ProcessGroupNCCL"),),
        dict.fromkeys(
            [
                "allocateTensor/2", "eagerConnectSingleDevice/1", "enableCollectivesTiming/0", "getError/0",
                "getMemAllocator/0", "getMemoryStats/0", "monitoredBarrier/2", "registerOnCompletionHook/1", "resume/0",
                "shrink/3", "supportsShrinking/0", "supportsTensorAlloc/1", "supportsTimeEstimation/0", "suspend/0",
                "waitForPendingWorks/0",
            ],
            NOT_OVER_GLOO,
        ),
    ),
}  # fmt: skip


#: What later releases than the oldest supported one have, of which nothing is overridden.
NEWER = {
    "PinnedAllocator": dict.fromkeys(
        [
            "record_history/5", "is_history_enabled/0", "get_segments/0", "get_traces/0", "record_external_register/2",
            "record_external_unregister/1",
        ],
        OURS_ASK,
    ),
    "ProcessGroupNCCL": {
        **dict.fromkeys(
            [
                "all_gather_single/3", "all_gather_single_coalesced/3", "all_to_all_single/5", "gather_into_tensor/3",
                "reduce_scatter_single/3", "reduce_scatter_single_coalesced/3",
            ],
            FORWARDED,
        ),
        **dict.fromkeys(
            ["getBoundDeviceId/0", "setBoundDeviceId/1", "isInitialized/0"], "torch's is right: virtual for others"
        ),
        **dict.fromkeys(
            [
                "supportsReconfigure/0", "get_reconfigure_handle/0", "reconfigure/1", "supportsWindow/0",
                "new_window/1",
                "supportsAbortHooks/0", "registerAbortHook/2", "unregisterAbortHook/1", "supportsCompletionHooks/0",
                "registerCompletionHook/2", "unregisterCompletionHook/1", "startTimeEstimate/0", "endTimeEstimate/0",
            ],
            NOT_OVER_GLOO,
        ),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_each_virtual_function_is_overridden_or_left_to_torch_on_purpose(root: Path, name: str) -> None:
    torchs, ours, left = CLASSES[name]
    own = set().union(*(overridden((root / "csrc" / file).read_text(), of) for file, of in ours))
    virtual = virtuals_of(INCLUDE, torchs)
    newer = {function: reason for function, reason in NEWER.get(name, {}).items() if function in virtual}
    assert complaints(torchs[0][1], virtual, own, left | newer, f"csrc/{ours[0][0]}") == []


HEADER = """
#pragma once
#define FAIL(name) TORCH_CHECK(false, "{", name)   \\
  virtual void not_a_member();
class HooksInterface;
// virtual void commented_out() {
struct TORCH_API HooksInterface : Base<int> {
  virtual ~HooksInterface() = default;
  HooksInterface(const HooksInterface&) = delete;
  virtual bool isBuilt() const { if (true) { return "}" != nullptr; } return false; }
  virtual const std::vector<std::string>& names(
      [[maybe_unused]] const std::map<int, int>& by_number, int limit = {}) const = 0;
  C10_DEPRECATED virtual void each(std::function<void(int, int)> visit) const {}
  void init() override;
  struct Nested { virtual void nested(); };
%s};
struct Other { virtual void other(); };
"""
OURS = """
struct Hooks final : HooksInterface {
  bool isBuilt() const override { return true; }
  const std::vector<std::string>& names(const std::map<int, int>& by_number, int limit) const override { return all; }
  void each(std::function<void(int, int)> visit) const final;
  void init() override {}
  bool helper() const;
};
"""


def test_what_is_read_of_a_header() -> None:
    assert declared(HEADER % "", "HooksInterface") == {"isBuilt/0", "names/2", "each/1"}
    assert declared(HEADER % "", "Absent") == set()
    assert overridden(OURS, "Hooks") == {"isBuilt/0", "names/2", "each/1", "init/0"}


def test_a_virtual_function_that_torch_adds_is_told() -> None:
    header = HEADER % "  virtual DeviceIndex fromTheFuture(Device device, int more) const;\n"
    virtual, ours = declared(header, "HooksInterface"), overridden(OURS, "Hooks")
    assert complaints("HooksInterface", virtual, ours, {}, "csrc/hooks/Hooks.cpp") == [
        "HooksInterface has a virtual function fromTheFuture/2 that csrc/hooks/Hooks.cpp neither overrides nor leaves "
        "to torch for a reason"
    ]
    assert complaints("HooksInterface", virtual, ours, {"fromTheFuture/2": "why not"}, "csrc/hooks/Hooks.cpp") == []


def test_reasons_for_what_is_gone_or_overridden_are_told() -> None:
    virtual, ours = declared(HEADER % "", "HooksInterface"), overridden(OURS, "Hooks")
    left = {"gone/0": "it was", "isBuilt/0": "it was"}
    assert complaints("HooksInterface", virtual, ours, left, "csrc/hooks/Hooks.cpp") == [
        "HooksInterface has no virtual function gone/0 that could be left to it",
        "csrc/hooks/Hooks.cpp overrides isBuilt/0 of HooksInterface and says that it does not",
    ]
