// forward/checks/RefusedTypes.h: types that an operator's native kernel knows and CUDA's does not.

#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <type_traits>

#include "forward/checks/Strictness.h"
#include "native/Dtypes.h"

namespace torchdevice::forward {

/// Of one operator; a row of REFUSED_TYPES in codegen/rules.py.
struct RefusedTypes {
  DtypeSet types;
  const char* kernel;               ///< as CUDA's kernel calls itself in its error
  bool before_cudnn = false;        ///< cuDNN is asked first, if it is enabled
  const char* reduction = nullptr;  ///< the one reduction whose kernel knows the types
};

/// Where CUDA looks the type up: in the first tensor.
template <class First, class... Rest>
at::ScalarType first_type(const First& first, const Rest&... rest) {
  if constexpr (std::is_same_v<First, at::Tensor>) {
    return first.scalar_type();
  } else {
    return first_type(rest...);
  }
}

inline bool is_empty(const at::Tensor& tensor) { return tensor.defined() && tensor.numel() == 0; }
template <class T>
bool is_empty(const T& /*argument*/) {
  return false;
}

inline bool is_text(std::string_view argument, const char* text) { return text != nullptr && argument == text; }
template <class T>
bool is_text(const T& /*argument*/, const char* /*text*/) {
  return false;
}

/// CUDA's operators return before the kernel where there is nothing to do.
template <class... A>
bool is_refused(const RefusedTypes& refused, const A&... arguments) {
  return C10_UNLIKELY((refused.types & dtype_set({first_type(arguments...)})) != 0) && is_strict() &&
         !(is_empty(arguments) || ...) && !(is_text(arguments, refused.reduction) || ...);
}

[[noreturn]] void refuse_type(const RefusedTypes& refused, at::ScalarType type);

}  // namespace torchdevice::forward
