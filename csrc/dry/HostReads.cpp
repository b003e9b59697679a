// dry/HostReads.cpp: what a program reads of a device that computed nothing.

#include "dry/HostReads.h"

#include <ATen/ExpandUtils.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "dry/Kernel.h"
#include "forward/checks/HostSync.h"

namespace torchdevice::dry {
namespace {

/// The host's copies of more than that are left as they are: to write them would take the memory that a dry run saves.
constexpr size_t kMostFilled = size_t{1} << 20U;

/// What came from the host and is not larger is kept, as a program may read it back: DistributedDataParallel does so
/// with the order of its buckets. Of so many tensors at once; then all are forgotten.
constexpr size_t kMostKept = size_t{64} << 10U;
constexpr size_t kMostContents = 256;

struct State {
  std::mutex lock;
  std::unordered_map<const void*, c10::Scalar> values;
  std::unordered_map<const void*, at::Tensor> contents;  ///< by the address of the storage, on the host
  Reads reads;
  CopiedBytes copied;
  std::atomic<std::string (*)()> call_site{nullptr};
};

State& state() {
  static auto* const state = new State();
  return *state;
}

bool has_place(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_cuda() && tensor.layout() == c10::kStrided;
}

const void* place_of_scalar(const at::Tensor& tensor) {
  return has_place(tensor) && tensor.numel() == 1 ? tensor.const_data_ptr() : nullptr;
}

void set_value(const at::Tensor& tensor, const std::optional<c10::Scalar>& value) {
  if (!has_place(tensor)) {
    return;
  }
  State& all = state();
  const std::lock_guard<std::mutex> guard(all.lock);
  all.contents.erase(tensor.storage().data());
  const void* place = place_of_scalar(tensor);
  if (place == nullptr) {
    return;
  }
  if (value.has_value()) {
    all.values.insert_or_assign(place, *value);
  } else {
    all.values.erase(place);
  }
}

std::optional<c10::Scalar> find_value(const at::Tensor& tensor) {
  const void* place = place_of_scalar(tensor);
  State& all = state();
  const std::lock_guard<std::mutex> guard(all.lock);
  const auto known = all.values.find(place);
  return place != nullptr && known != all.values.end() ? std::optional(known->second) : std::nullopt;
}

/// All of its storage has come from the host.
void keep_content(const at::Tensor& tensor, const at::Tensor& source) {
  if (tensor.numel() <= 1 || !source.is_cpu() || source.sizes() != tensor.sizes() || !tensor.is_contiguous() ||
      tensor.nbytes() != tensor.storage().nbytes() || tensor.nbytes() > kMostKept) {
    return;
  }
  at::Tensor content = source.to(tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  State& all = state();
  const std::lock_guard<std::mutex> guard(all.lock);
  if (all.contents.size() >= kMostContents) {
    all.contents.clear();
  }
  all.contents.insert_or_assign(tensor.storage().data(), std::move(content));
}

/// Undefined where nothing is known, or the tensor is not what was kept.
at::Tensor find_content(const at::Tensor& tensor) {
  State& all = state();
  const std::lock_guard<std::mutex> guard(all.lock);
  const auto known = all.contents.find(tensor.storage().data());
  const bool is_it = known != all.contents.end() && known->second.sizes() == tensor.sizes() &&
                     known->second.scalar_type() == tensor.scalar_type() && tensor.is_contiguous();
  return is_it ? known->second : at::Tensor();
}

c10::Scalar value_of(const at::Tensor& tensor) {
  const auto known = find_value(tensor);
  if (!known.has_value()) {
    return tensor.scalar_type() == at::kBool ? c10::Scalar(true) : c10::Scalar(1);
  }
  return *known;
}

c10::Scalar as_type_of(const at::Tensor& tensor, const c10::Scalar& value) {
  if (tensor.is_complex()) {
    return value.toComplexDouble();
  }
  if (tensor.is_floating_point()) {
    return value.toDouble();
  }
  return tensor.scalar_type() == at::kBool ? c10::Scalar(value.toBool()) : c10::Scalar(value.toLong());
}

/// What these say is bad news.
bool tells_of_trouble(const std::string& name) {
  constexpr std::array<std::string_view, 5> kNames{"aten::any", "aten::ne", "aten::isnan", "aten::isinf", "aten::isin"};
  return std::ranges::find(kNames, name) != kNames.end();
}

/// found_inf and the scale of a gradient scaler.
bool keeps_values(const std::string& name) { return name.starts_with("aten::_amp_"); }

template <class Visit>
void for_each_tensor(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    visit(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) {
      visit(tensor);
    }
  }
}

}  // namespace

void forget_values(const c10::OperatorHandle& op, const torch::jit::Stack& arguments,
                   const torch::jit::Stack& results) {
  const std::string& name = op.operator_name().name;
  if (keeps_values(name)) {
    return;
  }
  const auto& formals = op.schema().arguments();
  const size_t first = arguments.size() - formals.size();
  for (size_t i = 0; i < formals.size(); ++i) {
    if (formals[i].alias_info() != nullptr && formals[i].alias_info()->isWrite()) {
      for_each_tensor(arguments[first + i], [](const at::Tensor& tensor) { set_value(tensor, std::nullopt); });
    }
  }
  const bool trouble = tells_of_trouble(name);
  for (const c10::IValue& result : results) {
    for_each_tensor(result, [trouble](const at::Tensor& tensor) {
      const bool is_false = trouble && tensor.defined() && tensor.scalar_type() == at::kBool;
      set_value(tensor, is_false ? std::optional<c10::Scalar>(false) : std::nullopt);
    });
  }
}

void note_read(const char* what) {
  State& all = state();
  const auto reader = all.call_site.load();
  const std::string site = reader != nullptr ? reader() : std::string();
  const std::lock_guard<std::mutex> guard(all.lock);
  ++all.reads[{what, site}];
}

void read_scalar(const c10::OperatorHandle& /*op*/, c10::DispatchKeySet /*keys*/, torch::jit::Stack* stack) {
  const at::Tensor tensor = torch::jit::pop(*stack).toTensor();
  TORCH_CHECK(tensor.numel() == 1, "a Tensor with ", tensor.numel(), " elements cannot be converted to Scalar");
  forward::wait_for_device_of(tensor);
  note_read("item");
  torch::jit::push(*stack, as_type_of(tensor, value_of(tensor)));
}

void read_equal(const c10::OperatorHandle& op, c10::DispatchKeySet /*keys*/, torch::jit::Stack* stack) {
  check_devices_of(op, torch::jit::last(*stack, 2));
  const at::Tensor other = torch::jit::pop(*stack).toTensor();
  const at::Tensor self = torch::jit::pop(*stack).toTensor();
  forward::wait_for_device_of(self);
  note_read("equal");
  torch::jit::push(*stack, self.sizes() == other.sizes());
}

void copy(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const at::Tensor self = torch::jit::peek(*stack, 0, 3).toTensor();
  const at::Tensor source = torch::jit::peek(*stack, 1, 3).toTensor();
  const bool non_blocking = torch::jit::peek(*stack, 2, 3).toBool();
  if (self.is_same(source) || self.layout() != c10::kStrided || source.layout() != c10::kStrided) {
    torch::jit::drop(*stack, 3);
    torch::jit::push(*stack, self);
    return;
  }
  if (self.is_cuda() && source.is_cuda() && self.device() == source.device()) {
    const auto value = find_value(source);
    run(op, keys, stack);
    set_value(self, value);
    return;
  }
  const at::DimVector shape = at::infer_size_dimvector(self.sizes(), source.sizes());
  TORCH_CHECK(self.sizes() == shape, "output with shape ", self.sizes(), " doesn't match the broadcast shape ", shape);
  torch::jit::drop(*stack, 3);
  torch::jit::push(*stack, self);
  if (self.numel() == 0) {
    return;
  }
  State& all = state();
  if (self.is_cuda()) {
    {
      const std::lock_guard<std::mutex> guard(all.lock);
      (source.is_cuda() ? all.copied.between_devices : all.copied.to_device) += self.nbytes();
    }
    set_value(self, source.is_cpu() && source.numel() == 1 ? std::optional(source.item()) : find_value(source));
    keep_content(self, source);
    return;
  }
  if (!non_blocking) {
    forward::wait_for_device_of(source);
  }
  note_read("copy to the host");
  {
    const std::lock_guard<std::mutex> guard(all.lock);
    all.copied.to_host += self.nbytes();
  }
  if (const at::Tensor content = find_content(source); content.defined()) {
    self.copy_(content);
  } else if (self.nbytes() <= kMostFilled) {
    self.fill_(as_type_of(self, value_of(source)));
  }
}

void fill(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const c10::Scalar value = torch::jit::peek(*stack, 1, 2).toScalar();
  const at::Tensor self = torch::jit::peek(*stack, 0, 2).toTensor();
  run(op, keys, stack);
  set_value(self, value);
}

void zero(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const at::Tensor self = torch::jit::peek(*stack, 0, 1).toTensor();
  run(op, keys, stack);
  set_value(self, 0);
}

Reads host_reads() {
  State& all = state();
  const std::lock_guard<std::mutex> guard(all.lock);
  return all.reads;
}

CopiedBytes copied_bytes() {
  State& all = state();
  const std::lock_guard<std::mutex> guard(all.lock);
  return all.copied;
}

void set_call_site_reader(std::string (*reader)()) { state().call_site.store(reader); }

}  // namespace torchdevice::dry
