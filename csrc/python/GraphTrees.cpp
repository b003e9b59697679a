// python/GraphTrees.cpp: torch._C's names by which CUDA graph trees (torch/_inductor/cudagraph_trees.py) look after
// the memory of their graphs.

#include <ATen/EmptyTensor.h>
#include <c10/core/StorageImpl.h>
#include <torch/csrc/utils/pybind.h>

#include <string>
#include <unordered_set>
#include <vector>

#include "allocator/CachingAllocator.h"
#include "python/Bindings.h"

namespace torchdevice {
namespace {

/// What _cuda_getCheckpointState would return; there is none yet.
struct AllocatorState {};

[[noreturn]] void refuse_checkpoints() {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false,
      "torchdevice does not checkpoint the state of private memory pools, which CUDA graph trees need. Compile "
      "without them: torch.compile(..., mode=\"default\") or torch._inductor.config.triton.cudagraphs = False");
}

c10::StorageImpl& storage_at(size_t address) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address, which Python holds as an integer
  return *reinterpret_cast<c10::StorageImpl*>(address);
}

void free_and_remove_deleter(size_t address) {
  c10::StorageImpl& storage = storage_at(address);
  void* memory = storage.mutable_data_ptr().get();
  const bool swapped =
      storage.mutable_data_ptr().compare_exchange_deleter(&free_cuda_memory, &c10::detail::deleteNothing);
  TORCH_CHECK(swapped, "Expected standard deleter");
  release_cuda_memory(memory);
}

bool addresses_equal(const py::list& tensors, const py::list& addresses, const std::vector<size_t>& indices) {
  for (const size_t index : indices) {
    const auto address = static_cast<uintptr_t>(addresses[index].cast<int64_t>());
    if (reinterpret_cast<uintptr_t>(tensors[index].cast<at::Tensor>().data_ptr()) != address) {
      return false;
    }
  }
  return true;
}

at::Tensor construct_tensor(const py::dict& metadata, c10::Storage storage) {
  const auto dtype = c10::scalarTypeToTypeMeta(metadata["dtype"].cast<at::ScalarType>());
  at::Tensor tensor = at::detail::make_tensor_base<c10::TensorImpl>(std::move(storage),
                                                                    c10::DispatchKeySet(c10::DispatchKey::CUDA), dtype);
  c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  impl.set_sizes_and_strides(metadata["size"].cast<std::vector<int64_t>>(),
                             metadata["stride"].cast<std::vector<int64_t>>());
  impl.set_storage_offset(metadata["storage_offset"].cast<int64_t>());
  return tensor;
}

bool has_exactly(c10::DeviceIndex device, c10::MempoolId_t id, const py::set& expected) {
  std::unordered_set<const void*> addresses;
  for (const auto& address : expected) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address, which Python holds as an integer
    addresses.insert(reinterpret_cast<const void*>(address.cast<size_t>()));
  }
  return caching_allocator().pool_has_exactly(device, id, addresses);
}

}  // namespace

void add_graph_trees(PyObject* torch_c) {
  auto m = py::handle(torch_c).cast<py::module>();
  const py::class_<AllocatorState, std::shared_ptr<AllocatorState>> state(m, "_cuda_CUDAAllocator_AllocatorState",
                                                                          py::module_local());
  m.def("_cuda_getCheckpointState", [](c10::DeviceIndex, c10::MempoolId_t) { refuse_checkpoints(); });
  m.def("_cuda_setCheckpointPoolState",
        [](c10::DeviceIndex, const std::shared_ptr<AllocatorState>&, const std::vector<size_t>&,
           const std::vector<size_t>&) { refuse_checkpoints(); });
  m.def("_cuda_checkPoolLiveAllocations", &has_exactly);
  m.def("_free_And_Remove_DeleterFn", &free_and_remove_deleter);
  m.def("_has_Standard_Deleter",
        [](size_t address) { return storage_at(address).data_ptr().get_deleter() == &free_cuda_memory; });
  m.def("_set_storage_access_error_msg", [](const at::Tensor& tensor, std::string message) {
    tensor.unsafeGetTensorImpl()->release_storage_and_set_meta_custom_data_ptr_error_msg_(std::move(message));
  });
  m.def("_set_storage_data_ptr_access_error_msg", [](size_t address, std::string message) {
    storage_at(address).release_data_and_set_meta_custom_data_ptr_error_msg_(std::move(message));
  });
  m.def("_clear_storage_data_ptr_access_error_msg",
        [](size_t address) { storage_at(address).clear_data_ptr_access_error_msg_(); });
  m.def("_tensors_data_ptrs_at_indices_equal", &addresses_equal);
  m.def("_construct_CUDA_Tensor_From_Storage_And_Metadata", &construct_tensor);
}

}  // namespace torchdevice
