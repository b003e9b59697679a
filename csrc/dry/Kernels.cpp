// dry/Kernels.cpp: a dry run's kernels in place of those that compute.

#include "dry/Kernels.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "dry/DataDependent.h"
#include "dry/HostReads.h"
#include "dry/Kernel.h"
#include "forward/Registrar.h"
#include "forward/Substitution.h"
#include "native/Backend.h"

namespace torchdevice::dry {
namespace {

using Choice = std::optional<c10::KernelFunction>;

/// What the host reads, and what gives a tensor a value that it may read.
Choice kernel_of_values(const std::string& name) {
  static const std::unordered_map<std::string, c10::KernelFunction (*)()> kernels{
      {"aten::_local_scalar_dense", &boxed<&read_scalar>},
      {"aten::equal", &boxed<&read_equal>},
      {"aten::copy_", &boxed<&copy>},
      {"aten::fill_.Scalar", &boxed<&fill>},
      {"aten::zero_", &boxed<&zero>},
  };
  const auto known = kernels.find(name);
  return known != kernels.end() ? Choice(known->second()) : std::nullopt;
}

/// torch's composite kernel calls other operators, as on a GPU, where devices have none of their own. But lists of
/// tensors are one launch there, and a convolution is one kernel of cuDNN's, where the composite one would choose a
/// slow one.
bool runs_composite(const c10::OperatorHandle& op) {
  const std::string_view name = op.operator_name().name;
  return op.hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd) &&
         !op.hasKernelForDispatchKey(c10::DispatchKey::CPU) && !name.starts_with("aten::_foreach_") &&
         name != "aten::convolution" && name != "aten::convolution_backward";
}

/// Only metadata: these have nothing to do with what memory holds.
bool knows_no_data(const std::string& name) {
  static const std::unordered_set<std::string> names{
      "aten::empty.memory_format",
      "aten::empty_strided",
      "aten::as_strided",
      "aten::_nested_view_from_buffer",
      "aten::_reshape_alias",
      "aten::unfold",
      "aten::view",
      "aten::view_as_complex",
      "aten::view_as_real",
      "aten::set_.source_Storage",
      "aten::set_.source_Storage_storage_offset",
      "aten::set_.source_Tensor",
      "aten::set_",
      "aten::is_set_to",
      "aten::record_stream",
      "aten::_fused_sdp_choice",
      "aten::_use_cudnn_ctc_loss",
      "aten::_use_cudnn_ctc_loss.Tensor",
      "aten::_use_miopen_ctc_loss",
      "aten::_use_miopen_ctc_loss.Tensor",
  };
  return names.contains(name);
}

/// torch has a fallback for device "meta" that only raises, so that every operator seems to have a kernel there.
bool has_meta_kernel(const c10::OperatorHandle& op) {
  using c10::DispatchKey;
  constexpr std::array<DispatchKey, 4> kKeys{DispatchKey::Meta, DispatchKey::CompositeExplicitAutograd,
                                             DispatchKey::CompositeExplicitAutogradNonFunctional,
                                             DispatchKey::CompositeImplicitAutograd};
  return std::ranges::any_of(kKeys, [&op](DispatchKey key) { return op.hasKernelForDispatchKey(key); });
}

Choice kernel_for(const c10::OperatorName& name, const c10::OperatorHandle& op) {
  if (Choice of_values = kernel_of_values(c10::toString(name))) {
    return of_values;
  }
  if (Choice data_dependent = data_dependent_kernel(name)) {
    return data_dependent;
  }
  return runs_composite(op) ? std::nullopt : Choice(boxed<&run>());
}

/// Nothing of torch's says shapes: where there are no results, as of fused optimizers, arguments stay as they are. The
/// few others compute, in memory that is all zeros.
Choice forwarded(const c10::OperatorName& name, c10::KernelFunction&& kernel) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name.name.c_str(), name.overload_name.c_str());
  if (!has_meta_kernel(op) && !kernel_of_values(c10::toString(name)) && !data_dependent_kernel(name)) {
    return op.schema().returns().empty() ? Choice(boxed<&run_without_results>()) : Choice(std::move(kernel));
  }
  keep_computing_kernel(name, std::move(kernel));
  return kernel_for(name, op);
}

/// Where torch knows no shapes of the results, a kernel written by hand stays: it is composed of other operators.
Choice handwritten(const c10::OperatorName& name, c10::KernelFunction&& kernel) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name.name.c_str(), name.overload_name.c_str());
  if (knows_no_data(c10::toString(name)) || !has_meta_kernel(op)) {
    return std::move(kernel);
  }
  return kernel_for(name, op);
}

}  // namespace

bool is_on() {
  static const bool on = std::string_view(native_backend().name()) == "dry";
  return on;
}

void register_kernels() {
  forward::Registrar registrar;
  {
    const forward::Substitution substitution(&forwarded);
    forward::register_generated_kernels(registrar);
  }
  const forward::Substitution substitution(&handwritten);
  forward::register_handwritten_kernels(registrar);
}

std::function<void()> register_fallback() {
  // Leaked unless it is taken back: torch's own fallbacks end first.
  auto* handle = new c10::RegistrationHandleRAII(
      c10::Dispatcher::singleton().registerFallback(c10::DispatchKey::CUDA, boxed<&run>(), "torchdevice"));
  return [handle] { delete handle; };
}

}  // namespace torchdevice::dry
