// python/MemoryPools.cpp: torch._C's names of private memory pools and custom allocators.

#include <torch/csrc/utils/device_lazy_init.h>
#include <torch/csrc/utils/pybind.h>

#include <memory>
#include <thread>

#include "allocator/CachingAllocator.h"
#include "python/Bindings.h"
#include "runtime/Device.h"
#include "runtime/Stream.h"

namespace torchdevice {
namespace {

/// torch._C._MemPool: one user of a private pool on the device that was current when it was made.
class MemPool {
 public:
  MemPool(std::shared_ptr<CustomAllocator> allocator, bool is_user_created, bool use_on_oom, bool no_split)
      : id_(graph_pool_handle(is_user_created)), device_(current_device()), allocator_(std::move(allocator)) {
    caching_allocator().create_pool(device_, id_, !no_split, allocator_);
    if (use_on_oom) {
      caching_allocator().set_pool_use_on_oom(device_, id_, true);
    }
  }
  ~MemPool() {
    try {
      caching_allocator().set_pool_use_on_oom(device_, id_, false);
      caching_allocator().release_pool(device_, id_);
      caching_allocator().emptyCache(id_);
    } catch (const std::exception& error) {
      TORCH_WARN("A torch.cuda.MemPool ended with an error: ", error.what());
    }
  }
  MemPool(const MemPool&) = delete;
  MemPool& operator=(const MemPool&) = delete;

  c10::MempoolId_t id() const { return id_; }
  std::shared_ptr<CustomAllocator> allocator() const { return allocator_; }
  int use_count() const { return caching_allocator().pool_use_count(device_, id_); }

 private:
  c10::MempoolId_t id_;
  c10::DeviceIndex device_;
  std::shared_ptr<CustomAllocator> allocator_;
};

void add_pool_type(py::module& m) {
  py::class_<MemPool, std::shared_ptr<MemPool>>(m, "_MemPool", py::module_local())
      .def(py::init(
               [](std::shared_ptr<CustomAllocator> allocator, bool is_user_created, bool use_on_oom, bool no_split) {
                 torch::utils::device_lazy_init(c10::kCUDA);
                 return std::make_shared<MemPool>(std::move(allocator), is_user_created, use_on_oom, no_split);
               }),
           py::arg("allocator") = nullptr, py::arg("is_user_created") = true, py::arg("use_on_oom") = false,
           py::arg("no_split") = false)
      .def_property_readonly("id", &MemPool::id)
      .def_property_readonly("allocator", &MemPool::allocator)
      .def("use_count", &MemPool::use_count);
}

void add_routing(py::module& m) {
  m.def("_cuda_beginAllocateToPool", [](c10::DeviceIndex device, c10::MempoolId_t id) {
    caching_allocator().begin_allocate_to_pool(device, id, [](c10::StreamId) { return true; });
  });
  m.def("_cuda_beginAllocateCurrentThreadToPool", [](c10::DeviceIndex device, c10::MempoolId_t id) {
    caching_allocator().begin_allocate_to_pool(device, id, [thread = std::this_thread::get_id()](c10::StreamId) {
      return std::this_thread::get_id() == thread;
    });
  });
  m.def("_cuda_beginAllocateCurrentStreamToPool", [](c10::DeviceIndex device, c10::MempoolId_t id) {
    caching_allocator().begin_allocate_to_pool(
        device, id, [current = current_stream(device).id()](c10::StreamId stream) { return stream == current; });
  });
  m.def("_cuda_endAllocateToPool", [](c10::DeviceIndex device, c10::MempoolId_t id) {
    TORCH_CHECK(caching_allocator().end_allocate_to_pool(device, id),
                "endAllocatePool: not currently recording to mempool_id");
  });
  m.def("_cuda_releasePool", [](c10::DeviceIndex device, c10::MempoolId_t id) {
    TORCH_CHECK(caching_allocator().release_pool(device, id), "The memory pool (", id.first, ", ", id.second,
                ") has no user that could release it");
  });
}

template <typename Function>
Function* function_at(uint64_t address) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address, which Python holds as an integer
  return reinterpret_cast<Function*>(address);
}

/// A setter that takes a C function's address.
template <auto member>
void set_function(CustomAllocator& allocator, uint64_t address) {
  using Function = std::remove_pointer_t<std::remove_reference_t<decltype(allocator.*member)>>;
  allocator.*member = function_at<Function>(address);
}

void add_custom_allocators(py::module& m) {
  using Pointer = std::shared_ptr<CustomAllocator>;
  py::class_<CustomAllocator, Pointer>(m, "_cuda_CUDAAllocator", py::module_local())
      .def("set_init_fn", &set_function<&CustomAllocator::init>)
      .def("set_reset_fn", &set_function<&CustomAllocator::reset>)
      .def("set_memory_fraction_fn", &set_function<&CustomAllocator::set_memory_fraction>)
      .def("set_record_stream_fn", &set_function<&CustomAllocator::record_stream>);
  m.attr("_CUDAPluggableAllocator") = m.attr("_cuda_CUDAAllocator");
  m.def("_cuda_customAllocator", [](uint64_t allocate, uint64_t release) {
    return std::make_shared<CustomAllocator>(
        CustomAllocator{.allocate = function_at<CustomAllocator::Allocate>(allocate),
                        .release = function_at<CustomAllocator::Release>(release)});
  });
  m.def("_cuda_changeCurrentAllocator",
        [](Pointer allocator) { caching_allocator().set_custom(std::move(allocator)); });
  m.def("_cuda_getAllocator", [] { return caching_allocator().custom(); });
}

}  // namespace

void add_memory_pools(PyObject* torch_c) {
  auto m = py::handle(torch_c).cast<py::module>();
  add_custom_allocators(m);
  add_pool_type(m);
  add_routing(m);
}

}  // namespace torchdevice
