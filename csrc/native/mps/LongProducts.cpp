// native/mps/LongProducts.cpp: matrix products over long dimensions, in parts. On M1 and M2 MPS sums up what lies
// behind the operands from 32,767 elements on.

#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "native/mps/KnownWrong.h"

namespace torchdevice {
namespace {

constexpr int64_t kShortestWrong = 32767;
constexpr int64_t kPart = 16384;
/// Results with a side below this are computed another way.
constexpr int64_t kSmallestSide = 16;

/// In float32, as MPS sums halves.
at::Tensor product_in_parts(const at::Tensor& first, const at::Tensor& second) {
  at::Tensor sum;
  const int64_t length = first.size(-1);
  for (int64_t start = 0; start < length; start += kPart) {
    const int64_t count = std::min(kPart, length - start);
    const at::Tensor rows = first.narrow(-1, start, count).to(at::kFloat).contiguous();
    const at::Tensor columns = second.narrow(-2, start, count).to(at::kFloat).contiguous();
    const at::Tensor part = rows.dim() == 2 ? at::mm(rows, columns) : at::bmm(rows, columns);
    sum = sum.defined() ? sum.add_(part) : part;
  }
  return sum;
}

bool is_long(const at::Tensor& first, const at::Tensor& second, int64_t dim) {
  return first.defined() && second.defined() && first.dim() == dim && second.dim() == dim &&
         first.is_floating_point() && first.scalar_type() != at::kDouble &&
         first.scalar_type() == second.scalar_type() && first.size(-1) >= kShortestWrong &&
         first.size(-1) == second.size(-2) && first.size(0) == (dim == 3 ? second.size(0) : first.size(0)) &&
         first.size(-2) >= kSmallestSide && second.size(-1) >= kSmallestSide;
}

}  // namespace

bool is_long_or_complex(const at::Tensor& tensor) {
  return tensor.numel() >= kShortestWrong * kSmallestSide || tensor.is_complex();
}

void split_long_products(DoubtfulCall& call) {
  const std::string& name = call.op().schema().name();
  const std::string& overload = call.op().schema().overload_name();
  const bool adds = name.starts_with("aten::add") || name.starts_with("aten::badd");
  const int64_t dim = name.find("bmm") != std::string::npos ? 3 : 2;
  const at::Tensor first = tensor_argument(call, adds ? 1 : 0);
  const at::Tensor second = tensor_argument(call, adds ? 2 : 1);
  const at::Tensor self = adds ? tensor_argument(call, 0) : first;
  auto& stack = call.stack();
  at::Tensor out;
  if (overload == "out") {
    out = tensor_argument(call, stack.size() - 1);
  } else if (name.ends_with('_')) {
    out = self;
  }
  const bool has_place = (overload != "out" && !name.ends_with('_')) || out.defined();
  if (!is_long(first, second, dim) || !has_place || !self.defined() || self.scalar_type() != first.scalar_type() ||
      (out.defined() && out.scalar_type() != first.scalar_type())) {
    call.go_on();
    return;
  }
  at::Tensor result = product_in_parts(first, second);
  if (adds) {
    const at::Scalar beta = stack[3].toScalar();
    result = result * stack[4].toScalar();
    // Without a share in the result, its values, which may be none, do not count.
    if (beta.isComplex() || beta.toDouble() != 0) {
      result = result + self * beta;
    }
  }
  result = result.to(first.scalar_type());
  if (out.defined()) {
    at::native::resize_output(out, result.sizes());
    result = out.copy_(result);
  }
  stack.assign(1, result);
}

}  // namespace torchdevice
