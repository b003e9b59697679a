// forward/checks/LinalgDrivers.h: linear algebra whose algorithm the caller names: cuSOLVER's have other names than
// LAPACK's, and where none is named another one runs.

#pragma once

#include <c10/util/Exception.h>

#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "forward/checks/Strictness.h"

namespace torchdevice::forward {

using DriverName = std::optional<std::string_view>;

/// As svd_cusolver in torch's native/cuda/linalg/BatchLinearAlgebraLib.cpp. LAPACK has one way, which needs no name.
struct SvdDriver {
  static DriverName native(DriverName named) {
    TORCH_CHECK(!named.has_value() || *named == "gesvd" || *named == "gesvdj" || *named == "gesvda",
                "torch.linalg.svd: unknown svd driver ", named.value_or(""),
                " in svd_cusolver computation. Check doc at "
                "https://pytorch.org/docs/stable/generated/torch.linalg.svd.html");
    return std::nullopt;
  }
};

/// As get_default_lstsq_driver in torch's native/BatchLinearAlgebra.cpp.
struct LeastSquaresDriver {
  static DriverName native(DriverName named) {
    TORCH_CHECK(!is_strict() || named.value_or("gels") == "gels",
                "torch.linalg.lstsq: `driver` other than `gels` is not supported on CUDA");
    return named.value_or("gels");
  }
};

template <class Op, class Driver, class Kernel, class Signature = Op::schema>
struct Driven;

/// `Kernel`, told the name that `Driver` has for the native library.
template <class Op, class Driver, class Kernel, class R, class... A>
struct Driven<Op, Driver, Kernel, R(A...)> {
  static R call(A... arguments) { return Kernel::call(native<A>(arguments)...); }

 private:
  template <class T>
  static T native(std::type_identity_t<T>& argument) {
    if constexpr (std::is_same_v<T, DriverName>) {
      return Driver::native(argument);
    } else {
      return std::forward<T>(argument);
    }
  }
};

}  // namespace torchdevice::forward
