// graph/Recording.cpp: the operators of one captured graph: how they are recorded.

#include "graph/Recording.h"

#include <ATen/ops/clone.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/ScopeExit.h>

#include <algorithm>
#include <chrono>
#include <string_view>

#include "allocator/CachingAllocator.h"
#include "native/Backend.h"
#include "runtime/Capture.h"
#include "runtime/Generator.h"

namespace torchdevice::graph {
namespace {

/// How long an operator waits for a capture to end, at most: the kernels that the end waits for may want Python's lock,
/// which this thread may hold.
constexpr std::chrono::seconds kPatience{1};

/// The recording whose operator this thread is running.
constinit thread_local const Recording* inside = nullptr;

bool is_written(const c10::Argument& argument) {
  if (argument.alias_info() != nullptr) {
    return argument.alias_info()->isWrite();
  }
  // The batch norms of schemas that are older than alias annotations.
  return argument.name() == "running_mean" || argument.name() == "running_var";
}

/// Operators on CUDA tensors that write no memory, whatever their schema says.
bool writes_only_metadata(const c10::OperatorHandle& op) {
  static const std::unordered_set<std::string_view> names{"aten::record_stream", "aten::resize_", "aten::set_"};
  return op.hasTag(at::Tag::inplace_view) || names.contains(op.schema().name());
}

/// Factories whose results hold whatever was there.
bool gives_uninitialized_memory(const c10::OperatorHandle& op) {
  const std::string_view name = op.schema().name();
  return name.starts_with("aten::empty") || name.starts_with("aten::new_empty") || name.starts_with("aten::_empty");
}

/// A CPU scalar whose value a GPU kernel takes when it is launched. Python numbers are fresh tensors already.
bool is_kernel_argument(const c10::OperatorHandle& op, const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.dim() == 0 && !tensor.unsafeGetTensorImpl()->is_wrapped_number() &&
         op.schema().name() != "aten::copy_";
}

/// The overload that writes the results of `op` to given tensors: the same arguments, then one for each result.
std::optional<c10::OperatorHandle> find_out_overload(const c10::OperatorHandle& op) {
  static const auto& overloads = *[] {
    auto* by_name = new std::unordered_multimap<std::string, c10::OperatorName>();
    for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
      if (name.overload_name.ends_with("out")) {
        by_name->emplace(name.name, name);
      }
    }
    return by_name;
  }();
  const c10::FunctionSchema& schema = op.schema();
  const auto [first, last] = overloads.equal_range(schema.name());
  for (auto candidate = first; candidate != last; ++candidate) {
    const auto handle = c10::Dispatcher::singleton().findSchema(candidate->second);
    if (!handle.has_value() || !handle->hasKernelForDispatchKey(c10::DispatchKey::CUDA)) {
      continue;
    }
    const auto& arguments = handle->schema().arguments();
    const size_t shared = schema.arguments().size();
    bool fits = arguments.size() == shared + schema.returns().size();
    for (size_t i = 0; fits && i < arguments.size(); ++i) {
      fits = i < shared ? arguments[i].name() == schema.arguments()[i].name() &&
                              *arguments[i].type() == *schema.arguments()[i].type()
                        : arguments[i].type()->kind() == c10::TypeKind::TensorType;
    }
    if (fits) {
      return handle;
    }
  }
  return std::nullopt;
}

/// Losses whose out= overloads first give `out` the shape of what they reduce, which memory of a graph cannot take.
bool reduces_in_place(const c10::OperatorHandle& op, const std::vector<c10::IValue>& arguments,
                      const std::vector<at::Tensor>& results) {
  const std::optional<int> reduction = op.schema().argumentIndexWithName("reduction");
  return reduction.has_value() && arguments[*reduction].isInt() && arguments[*reduction].toInt() != 0 &&
         std::any_of(results.begin(), results.end(), [](const at::Tensor& t) { return t.defined() && t.dim() == 0; });
}

Node make_node(const c10::OperatorHandle& op, c10::DispatchKeySet keys, std::vector<c10::IValue> arguments,
               std::vector<at::Tensor> results, bool writes) {
  const bool fills_all = !writes && results.size() == op.schema().returns().size() &&
                         std::all_of(results.begin(), results.end(), [](const at::Tensor& t) { return t.defined(); });
  if (const auto out = fills_all && !reduces_in_place(op, arguments, results) ? find_out_overload(op) : std::nullopt) {
    arguments.insert(arguments.end(), results.begin(), results.end());
    return {*out, keys, std::move(arguments), {}, {}};
  }
  return {op, keys, std::move(arguments), std::move(results), {}};
}

}  // namespace

at::Generator twin_of(at::Generator generator) {
  const std::lock_guard guard(generator.mutex());
  return generator.graphsafe_get_state();
}

/// An operator on its way: the recording is not closed meanwhile.
class Recording::Passage {
 public:
  explicit Passage(Recording& recording) : recording_(recording) {
    std::unique_lock lock(recording.mutex_);
    // By this clock: to wait by the steady one takes glibc 2.30, and wheels are for 2.28.
    const auto until = std::chrono::system_clock::now() + kPatience;
    recording.changed_.wait_until(lock, until, [&] { return recording.phase_ != Phase::kClosing; });
    is_open_ = recording.phase_ != Phase::kClosed;
    if (is_open_) {
      ++recording.running_;
      inside = &recording;
    }
  }
  ~Passage() {
    if (is_open_) {
      inside = nullptr;
      const std::lock_guard guard(recording_.mutex_);
      --recording_.running_;
      recording_.changed_.notify_all();
    }
  }
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

  bool is_open() const noexcept { return is_open_; }

 private:
  Recording& recording_;
  bool is_open_ = false;
};

Recording::Recording(c10::DeviceIndex device, c10::MempoolId_t pool) : device_(device), pool_(pool) {
  for (const auto& segment : caching_allocator().snapshot(pool)) {
    size_t address = segment.address;
    for (const auto& block : segment.blocks) {
      if (block.allocated) {
        pool_before_.insert(reinterpret_cast<const void*>(address));  // NOLINT(performance-no-int-to-ptr): c10's type
      }
      address += block.size;
    }
  }
}

bool Recording::run(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const Passage passage(*this);
  if (!passage.is_open()) {
    return false;
  }
  const c10::impl::ExcludeDispatchKeyGuard nested(kCaptureKey);
  const auto& formals = op.schema().arguments();
  const std::vector<c10::IValue> arguments(stack->end() - static_cast<std::ptrdiff_t>(formals.size()), stack->end());

  std::unordered_set<const c10::StorageImpl*> known;
  bool on_device = false;
  bool writes = false;
  for (size_t i = 0; i < formals.size(); ++i) {
    for_each_tensor(arguments[i], [&](const at::Tensor& tensor) {
      on_device |= tensor.is_cuda();
      writes |= is_written(formals[i]);
      if (tensor.has_storage()) {
        known.insert(tensor.storage().unsafeGetStorageImpl());
      }
    });
  }
  writes &= on_device && !writes_only_metadata(op);

  // What the arguments are before the operator runs; those that it writes, as it leaves them: it may resize them.
  std::vector<c10::IValue> recorded(formals.size());
  std::unique_lock lock(mutex_);
  for (size_t i = 0; i < formals.size(); ++i) {
    if (!is_written(formals[i])) {
      recorded[i] = stand_in(op, arguments[i]);
    } else if (writes) {
      save_before_write(arguments[i]);
    }
  }
  // Kernels of other libraries may wait for Python's lock.
  lock.unlock();
  op.redispatchBoxed(keys, stack);
  lock.lock();
  if (phase_ == Phase::kClosed) {
    return true;  // its own kernel has ended the capture
  }

  std::vector<at::Tensor> results = fresh_results(op, *stack, known);
  const bool gives = std::any_of(results.begin(), results.end(), [](const at::Tensor& t) { return t.defined(); });
  if ((!writes && !gives) || gives_uninitialized_memory(op)) {
    return true;
  }
  for (size_t i = 0; i < formals.size(); ++i) {
    if (is_written(formals[i])) {
      recorded[i] = stand_in(op, arguments[i]);
    }
  }
  nodes_.push_back(make_node(op, keys, std::move(recorded), std::move(results), writes));
  if (op.hasTag(at::Tag::nondeterministic_seeded)) {
    nodes_.back().default_generator = twin_of(default_cuda_generator(device_));
  }
  return true;
}

/// The results that are new memory, in the order of all tensors returned; undefined for the others.
std::vector<at::Tensor> Recording::fresh_results(const c10::OperatorHandle& op, const torch::jit::Stack& stack,
                                                 const std::unordered_set<const c10::StorageImpl*>& known) {
  std::vector<at::Tensor> results;
  for (size_t i = stack.size() - op.schema().returns().size(); i < stack.size(); ++i) {
    for_each_tensor(stack[i], [&](const at::Tensor& tensor) {
      const bool fresh =
          tensor.is_cuda() && tensor.has_storage() && !known.contains(tensor.storage().unsafeGetStorageImpl());
      results.push_back(fresh ? stand_in(op, tensor) : at::Tensor());
    });
  }
  return results;
}

c10::IValue Recording::stand_in(const c10::OperatorHandle& op, const c10::IValue& value) {
  if (value.isTensor()) {
    return stand_in(op, value.toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> tensors;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      tensors.push_back(stand_in(op, tensor));
    }
    return tensors;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> tensors;
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
      tensors.push_back(tensor.has_value() ? std::optional(stand_in(op, *tensor)) : std::nullopt);
    }
    return tensors;
  }
  if (value.isGenerator() && value.toGenerator().device().is_cuda()) {
    return twin_of(value.toGenerator());
  }
  return value;
}

at::Tensor Recording::stand_in(const c10::OperatorHandle& op, const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.has_storage()) {
    return tensor;
  }
  if (!tensor.is_cuda()) {
    return is_kernel_argument(op, tensor) ? tensor.detach().clone() : tensor;
  }
  auto impl = tensor.unsafeGetTensorImpl()->shallow_copy_and_detach(c10::VariableVersion(0),
                                                                    /*allow_tensor_metadata_change=*/true);
  impl->set_storage_keep_dtype(stand_in(tensor.storage()));
  return at::Tensor(std::move(impl));
}

c10::Storage Recording::stand_in(const c10::Storage& storage) {
  c10::StorageImpl* source = storage.unsafeGetStorageImpl();
  const void* data = source->data();
  const auto known = storages_.find(source);
  if (known != storages_.end() && known->second.data == data && !known->second.source.expired()) {
    return known->second.stand_in;
  }
  c10::Storage result = storage;
  if (data == nullptr || pool_of(data) == pool_) {
    result = c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), source->nbytes(),
                                                                at::DataPtr(source->mutable_data(), source->device()),
                                                                source->allocator(), /*resizable=*/false));
  }
  storages_.insert_or_assign(
      source, KnownStorage{c10::weak_intrusive_ptr<c10::StorageImpl>(storage.getWeakStorageImpl()), data, result});
  return result;
}

void Recording::save_before_write(const c10::IValue& value) {
  for_each_tensor(value, [&](const at::Tensor& tensor) {
    if (!tensor.has_storage()) {
      return;
    }
    const void* memory = tensor.storage().data();
    const bool made_by_the_capture = pool_of(memory) == pool_ && !pool_before_.contains(memory);
    if (!made_by_the_capture) {
      saved_.save(tensor.storage());
    }
  });
}

void Recording::close(const std::function<void()>& end) {
  {
    std::unique_lock lock(mutex_);
    phase_ = Phase::kClosing;
    changed_.wait(lock, [this] { return running_ == (inside == this ? 1 : 0); });
    const auto closed = c10::make_scope_exit([&] {
      end();
      phase_ = Phase::kClosed;
      changed_.notify_all();
    });
    saved_.restore();
  }
  // Without the lock: what is let go here may run code of the program.
  saved_.clear();
  storages_.clear();
}

}  // namespace torchdevice::graph
