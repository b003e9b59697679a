// forward/checks/Nondeterministic.h: operators that torch.use_deterministic_algorithms refuses on CUDA, as the kernels
// there add up in an order that changes from run to run. The CPU's kernels do not; programs rely on the refusal all the
// same.

#pragma once

#include <ATen/Context.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_embedding_bag_backward_ops.h>
#include <ATen/ops/_embedding_bag_dense_backward_ops.h>
#include <ATen/ops/bincount_ops.h>
#include <ATen/ops/nll_loss2d_forward_ops.h>
#include <ATen/ops/put_ops.h>
#include <ATen/ops/scatter_ops.h>
#include <ATen/ops/scatter_reduce_ops.h>

#include <string_view>

#include "forward/checks/Checked.h"

namespace torchdevice::forward {

/// Whether a call is one of those. Most operators of NONDETERMINISTIC in codegen/rules.py always are.
template <class Op>
struct IsNondeterministic {
  template <class... A>
  static bool with(const A&...) {
    return true;
  }
};

template <>
struct IsNondeterministic<at::_ops::bincount> {
  static bool with(const at::Tensor&, const std::optional<at::Tensor>& weights, const c10::SymInt&) {
    return weights.has_value();
  }
};

struct MaximumIsNondeterministic {
  static constexpr int64_t kMax = 2;
  template <class... A>
  static bool with(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                   const c10::SymInt&, bool, int64_t mode, const A&...) {
    return mode == kMax;
  }
  template <class... A>
  static bool with(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                   const at::Tensor&, const c10::SymInt&, bool, int64_t mode, const A&...) {
    return mode == kMax;
  }
};

template <>
struct IsNondeterministic<at::_ops::_embedding_bag_backward> : MaximumIsNondeterministic {};
template <>
struct IsNondeterministic<at::_ops::_embedding_bag_dense_backward> : MaximumIsNondeterministic {};

struct ReducedLossIsNondeterministic {
  template <class... A>
  static bool with(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, int64_t reduction,
                   const A&...) {
    return reduction != at::Reduction::None;
  }
};

template <>
struct IsNondeterministic<at::_ops::nll_loss2d_forward> : ReducedLossIsNondeterministic {};
template <>
struct IsNondeterministic<at::_ops::nll_loss2d_forward_output> : ReducedLossIsNondeterministic {};

/// Without `accumulate` torch's one kernel for all devices says so itself.
struct AccumulationIsNondeterministic {
  template <class... A>
  static bool with(const at::Tensor&, const at::Tensor&, const at::Tensor&, bool accumulate, const A&...) {
    return accumulate;
  }
};

template <>
struct IsNondeterministic<at::_ops::put> : AccumulationIsNondeterministic {};
template <>
struct IsNondeterministic<at::_ops::put_> : AccumulationIsNondeterministic {};

/// Sums have a deterministic kernel on CUDA, products have none.
struct ProductIsNondeterministic {
  template <class... A>
  static bool with(const at::Tensor&, int64_t, const at::Tensor&, const at::Tensor&, std::string_view reduce,
                   const A&...) {
    return reduce == "prod" || reduce == "multiply";
  }
};

template <>
struct IsNondeterministic<at::_ops::scatter_reduce> : ProductIsNondeterministic {};
template <>
struct IsNondeterministic<at::_ops::scatter_reduce_out> : ProductIsNondeterministic {};
template <>
struct IsNondeterministic<at::_ops::scatter__reduce> : ProductIsNondeterministic {};
template <>
struct IsNondeterministic<at::_ops::scatter_reduce_two> : ProductIsNondeterministic {};
template <>
struct IsNondeterministic<at::_ops::scatter_reduce_two_out> : ProductIsNondeterministic {};
template <>
struct IsNondeterministic<at::_ops::scatter_reduce__two> : ProductIsNondeterministic {};

/// Precedes such an operator. `caller` is what CUDA's kernel calls itself in the alert.
template <class Op, const char* caller>
struct DeterminismCheck {
  template <class... A>
  static void before(const A&... arguments) {
    if (C10_UNLIKELY(at::globalContext().deterministicAlgorithms()) && IsNondeterministic<Op>::with(arguments...)) {
      at::Context::alertNotDeterministic(caller);
    }
  }
};

}  // namespace torchdevice::forward
