// forward/checks/BadIndices.h: operators whose native kernels notice a bad index, but do not say which or what the
// bound is.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <optional>
#include <string_view>

#include "forward/DeviceAssertion.h"

namespace torchdevice::forward {

/// Raise the assertion that failed once more, now with the first of `indices` outside of [0, size). `ignored` may be
/// outside.
[[noreturn]] void name_bad_index(std::string_view op, const char* word, const at::Tensor& indices, int64_t size,
                                 const char* of_what, std::optional<int64_t> ignored = std::nullopt);

/// embedding and its kin: rows of a matrix.
struct RowIndices {
  template <class... A>
  [[noreturn]] static void name(std::string_view op, const at::Tensor& weight, const at::Tensor& indices, const A&...) {
    name_bad_index(op, "index", indices, weight.size(0), "rows");
  }
};

/// index_select and its kin: places along a dimension.
struct PlaceIndices {
  template <class... A>
  [[noreturn]] static void name(std::string_view op, const at::Tensor& self, int64_t dim, const at::Tensor& index,
                                const A&...) {
    name_bad_index(op, "index", index, self.dim() == 0 ? 1 : self.size(dim), "elements of the dimension");
  }
};

/// Losses: classes.
struct Labels {
  template <class... A>
  [[noreturn]] static void name(std::string_view op, const at::Tensor& self, const at::Tensor& target,
                                const std::optional<at::Tensor>& /*weight*/, int64_t /*reduction*/,
                                const c10::SymInt& ignore_index, const A&...) {
    name_classes(op, self, target, ignore_index.maybe_as_int());
  }
  template <class... A>
  [[noreturn]] static void name(std::string_view op, const at::Tensor& self, const at::Tensor& target,
                                const at::Scalar& /*p*/, const A&...) {
    name_classes(op, self, target, std::nullopt);
  }

 private:
  [[noreturn]] static void name_classes(std::string_view op, const at::Tensor& self, const at::Tensor& target,
                                        std::optional<int64_t> ignored) {
    name_bad_index(op, "target", target, self.size(self.dim() == 1 ? 0 : 1), "classes", ignored);
  }
};

template <class Op, class Indices, class Kernel, class Signature = Op::schema>
struct NamedIndices;

/// `Kernel`, whose failed assertion tells the index and its bound.
template <class Op, class Indices, class Kernel, class R, class... A>
struct NamedIndices<Op, Indices, Kernel, R(A...)> {
  static R call(A... arguments) {
    try {
      return Kernel::call(arguments...);
    } catch (const c10::AcceleratorError& error) {
      if (!is_device_assertion(error)) {
        throw;
      }
    }
    Indices::name(Op::name, arguments...);
  }
};

}  // namespace torchdevice::forward
