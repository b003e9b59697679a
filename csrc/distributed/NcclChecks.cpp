// distributed/NcclChecks.cpp: what torch's ProcessGroupNCCL demands of the tensors that it is given, with its errors.

#include "distributed/NcclChecks.h"

#include <c10/util/Exception.h>

#include <torch/csrc/distributed/c10d/Utils.hpp>

namespace torchdevice::distributed {
namespace {

constexpr const char* kOneTensor =
    "Expecting one tensor only but got multiple. You are probably using multiple devices under one thread. The support "
    "for such usage has been deprecated. For details, please refer to "
    "https://pytorch.org/docs/stable/distributed.html#multi-gpu-collective-functions. ProcessGroupNCCL continues "
    "supporting multi-process and multi-thread modes.";

void check_dense(const at::Tensor& tensor) {
  TORCH_CHECK_VALUE(tensor.is_cuda() && !tensor.is_sparse(), "Tensors must be CUDA and dense");
}

void check_type(const at::Tensor& tensor) {
  switch (at::toRealValueType(tensor.scalar_type())) {
    case at::kChar:
    case at::kByte:
    case at::kFloat:
    case at::kDouble:
    case at::kInt:
    case at::kLong:
    case at::kHalf:
    case at::kBool:
    case at::kBFloat16:
    case at::kFloat8_e5m2:
    case at::kFloat8_e4m3fn:
    case at::kFloat8_e4m3fnuz:
    case at::kFloat8_e5m2fnuz:
      return;
    default:
      TORCH_CHECK_TYPE(false, "Input tensor data type is not supported for NCCL process group: ", tensor.scalar_type());
  }
}

}  // namespace

const at::Tensor& only(const Tensors& tensors) {
  TORCH_CHECK(tensors.size() == 1, kOneTensor);
  return tensors.front();
}

const Tensors& only(const std::vector<Tensors>& lists) {
  TORCH_CHECK(lists.size() == 1, kOneTensor);
  return lists.front();
}

void check_tensor(const at::Tensor& tensor) {
  check_dense(tensor);
  TORCH_CHECK_VALUE(tensor.is_contiguous(tensor.suggest_memory_format()), "Tensors must be contiguous");
  check_type(tensor);
}

void check_message(const at::Tensor& tensor) {
  check_dense(tensor);
  TORCH_CHECK_VALUE(tensor.is_non_overlapping_and_dense(), "Tensors must be contiguous");
  check_type(tensor);
}

void check_coalesced(const Tensors& tensors) {
  TORCH_CHECK_VALUE(!tensors.empty(), "Tensor list must be nonempty");
  const at::Tensor& first = tensors.front();
  for (const at::Tensor& tensor : tensors) {
    check_dense(tensor);
    TORCH_CHECK_TYPE(tensor.scalar_type() == first.scalar_type(), "Tensors must have identical type");
    TORCH_CHECK_VALUE(tensor.is_non_overlapping_and_dense(), "Tensors must be non-overlapping and dense");
    TORCH_CHECK_VALUE(tensor.get_device() == first.get_device(), "Expected list of tensors on the same device");
  }
  check_type(first);
}

void check_reduction(const at::Tensor& tensor, const c10d::ReduceOp& reduction, const char* what) {
  const at::ScalarType type = tensor.scalar_type();
  TORCH_CHECK(!tensor.is_complex() || c10d::isComplexViewAsRealAllowed(reduction), what, " does not support",
              static_cast<int>(reduction.op_), "on complex tensors");
  TORCH_CHECK(!at::isFloat8Type(type), "Unsupported Float8 type for NCCL reduction");
  switch (reduction.op_) {
    case c10d::ReduceOp::BAND:
      TORCH_CHECK_VALUE(false, "Cannot use ReduceOp.BAND with NCCL");
    case c10d::ReduceOp::BOR:
      TORCH_CHECK_VALUE(false, "Cannot use ReduceOp.BOR with NCCL");
    case c10d::ReduceOp::BXOR:
      TORCH_CHECK_VALUE(false, "Cannot use ReduceOp.BXOR with NCCL");
    case c10d::ReduceOp::AVG:
      TORCH_CHECK_TYPE(type != at::kBool, "Cannot use ReduceOp.AVG with boolean inputs");
      break;
    case c10d::ReduceOp::PREMUL_SUM:
      TORCH_CHECK_TYPE(at::isFloatingType(at::toRealValueType(type)),
                       "PreMulSum Data type must be half, float, bfloat16 or double");
      break;
    case c10d::ReduceOp::UNUSED:
      TORCH_CHECK_VALUE(false, "Unhandled ReduceOp");
    default:
      break;
  }
}

void check_gathered(const at::Tensor& output, const at::Tensor& input, int size) {
  TORCH_CHECK_TYPE(input.dtype() == output.dtype(), "output tensor must have the same type as input tensor");
  TORCH_CHECK_VALUE(input.numel() * size == output.numel(),
                    "output tensor size must be equal to world_size times input tensor size");
}

void check_scattered(const at::Tensor& output, const at::Tensor& input, int size) {
  TORCH_CHECK_TYPE(input.dtype() == output.dtype(), "input tensor must be the same type as the output tensor.");
  TORCH_CHECK_VALUE(input.numel() == output.numel() * size,
                    "input tensor must be the same size as output size times world size");
}

void check_rooted_lists(const std::vector<Tensors>& lists, const at::Tensor& mine, int64_t root, int rank, int size,
                        const char* collective, const char* role) {
  const auto refuse = [collective](const std::string& text) {
    TORCH_CHECK_VALUE(false, "ProcessGroupNCCL::", collective, ": ", text);
  };
  c10d::assertRootRank(refuse, root, size);
  if (rank != root) {
    if (!lists.empty()) {
      refuse(c10::str("requires empty ", role, " on non-root"));
    }
    return;
  }
  if (lists.size() != 1) {
    refuse(c10::str("requires a single-element ", role, " list containing a list with ", size, " tensors."));
  }
  if (lists.front().size() != static_cast<size_t>(size)) {
    refuse(c10::str("Incorrect ", role, " list size ", lists.front().size(), ". ",
                    std::string_view(role) == "output" ? "Output" : "Input", " list size should be ", size,
                    ", same as size of the process group."));
  }
  c10d::assertTypeAndSizesMatch(refuse, lists.front(), mine.options(), mine.sizes());
}

}  // namespace torchdevice::distributed
