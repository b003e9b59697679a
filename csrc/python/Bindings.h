// python/Bindings.h: the functions that make the names which a CUDA build has on torch._C.

#pragma once

#include <Python.h>

namespace torchdevice {

// Each throws python_error (or c10::Error) when Python refuses; to be called once, with the GIL, after the runtime's
// install functions. `torch_c` is a module of ours with torch._C's name (Names.cpp).

/// Devices.cpp: _cuda_init, _cuda_getDevice, _cuda_setDevice, _cuda_getDeviceCount and what else concerns devices.
void add_devices(PyObject* torch_c);

/// Properties.cpp: _CudaDeviceProperties and _CUuuid.
void add_properties(PyObject* torch_c);

/// Properties.cpp: _get_device_properties(device: int), which _cuda_init puts onto torch.cuda.
void add_get_device_properties(PyObject* torch_cuda);

/// Streams.cpp: _CudaStreamBase and the functions of current, default and external streams.
void add_streams(PyObject* torch_c);

/// Events.cpp: _CudaEventBase.
void add_events(PyObject* torch_c);

/// Memory.cpp: the caching allocator's statistics, limits, cache and snapshots.
void add_memory(PyObject* torch_c);

/// Graphs.cpp: _CUDAGraph and _graph_pool_handle.
void add_graphs(PyObject* torch_c);

/// Communication.cpp: _broadcast, _scatter, _gather and their variants, behind torch.cuda.comm.
void add_communication(PyObject* torch_c);

/// GraphTrees.cpp: what torch's CUDA graph trees ask of the allocator and of storages.
void add_graph_trees(PyObject* torch_c);

/// PinnedMemory.cpp: the pinned memory allocator's statistics and cache.
void add_pinned_memory(PyObject* torch_c);

/// MemoryPools.cpp: _MemPool, custom allocators, and the functions that route allocations.
void add_memory_pools(PyObject* torch_c);

/// MemoryHistory.cpp: what starts and ends the recording of memory history, and what adds to it.
void add_memory_history(PyObject* torch_c);

/// MemorySnapshot.cpp: _cuda_memorySnapshot and _cuda_allocationTraceback.
void add_memory_snapshot(PyObject* torch_c);

/// Runtime.cpp: the submodules _cudart and _nvtx, and functions that belong nowhere else.
void add_runtime(PyObject* torch_c);

/// Libraries.cpp: what torch asks of cuBLAS, cuSOLVER, cuDNN and jiterator: settings, versions, clear errors.
void add_libraries(PyObject* torch_c);

/// Nccl.cpp: torch.cuda.nccl between the devices of one process.
void add_nccl(PyObject* torch_c);

/// Distributed.cpp: ProcessGroupNCCL and what else torch._C._distributed_c10d has in a CUDA build.
void add_distributed(PyObject* torch_c);

/// Tunable.cpp: torch.cuda.tunable's settings and files.
void add_tunable(PyObject* torch_c);

/// Gds.cpp: torch.cuda.gds, through the page cache.
void add_gds(PyObject* torch_c);

/// Inductor.cpp: what torch._inductor and torch._dynamo import wherever CUDA is built in.
void add_inductor(PyObject* torch_c);

/// Devices.cpp: cuda_version(), configured_device_count() and device_uuids() on torchdevice._C, for
/// torchdevice/patches/.
void add_device_patch(PyObject* torchdevice_c);

/// LoadedLibraries.cpp: sweep_after(path), for torchdevice/patches/cuda_code.py.
void add_library_patch(PyObject* torchdevice_c);

/// Storages.cpp: install_storages() and uninstall_storages() on torchdevice._C, likewise.
void add_storage_patch(PyObject* torchdevice_c);

/// SharedStorages.cpp: share_cuda, new_shared_cuda and release_ipc_counter_cuda, likewise.
void add_sharing_patch(PyObject* torchdevice_c);

/// TensorTypes.cpp: install_tensor_types(), uninstall_tensor_types() and set_default_tensor_type(type), likewise.
void add_tensor_type_patch(PyObject* torchdevice_c);

/// Attention.cpp: can_use_flash_attention, can_use_mem_efficient_attention and can_use_cudnn_attention, likewise.
void add_attention_patch(PyObject* torchdevice_c);

/// Report.cpp: operator_tallies() and its kin, and the call sites of what is counted.
void add_report(PyObject* torchdevice_c);

/// Check.cpp: is_checking(), check_findings(), and the Python stacks in them.
void add_check(PyObject* torchdevice_c);

/// DryRun.cpp: is_dry_run, and what a dry run has seen.
void add_dry_run(PyObject* torchdevice_c);

/// Gloo.cpp: gloo_methods(), likewise.
void add_gloo_patch(PyObject* torchdevice_c);

/// Inductor.cpp: empty_strided_on(index), for torchdevice/patches/inductor/codegen.py.
void add_inductor_patch(PyObject* torchdevice_c);

}  // namespace torchdevice
