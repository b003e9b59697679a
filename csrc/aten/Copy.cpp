// aten/Copy.cpp: copies between tensors that lie in memory in the same way need no kernel, on CUDA neither.

#include <ATen/ExpandUtils.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/copy_ops.h>

#include "allocator/BorrowedMemory.h"
#include "forward/Forward.h"
#include "forward/checks/HostSync.h"
#include "forward/fallback/Fallback.h"
#include "native/Backend.h"

namespace torchdevice::aten {
namespace {

using Op = at::_ops::copy_;
constexpr forward::Rule kCopyRule{forward::Mixing::kAnyDevice};
using Kernel = forward::Checked<Op, forward::SyncCheck<Op>, forward::Forwarded<Op, kCopyRule>>;

/// A dense CUDA tensor whose elements are what its memory says.
bool is_plain(const c10::TensorImpl& tensor) {
  constexpr uint64_t kExpected = forward::kDenseKey | forward::kCudaBackendBit;
  constexpr uint64_t kLazy = forward::bits(
      c10::DispatchKeySet({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative, c10::DispatchKey::ZeroTensor}));
  return (tensor.key_set().raw_repr() & (kExpected | kLazy)) == kExpected;
}

bool may_copy_memory(const c10::TensorImpl& self, const c10::TensorImpl& src) {
  using forward::TensorAccess;
  return is_plain(self) && is_plain(src) && self.dtype() == src.dtype() && self.device() == src.device() &&
         TensorAccess::geometry(self) == TensorAccess::geometry(src) && self.is_non_overlapping_and_dense() &&
         self.numel() > 0 && self.has_storage() && src.has_storage() &&
         !TensorAccess::has_storage(self, src.storage().unsafeGetStorageImpl());
}

at::Tensor& copy_(at::Tensor& self, const at::Tensor& src, bool non_blocking) {
  if (!may_copy_memory(*self.unsafeGetTensorImpl(), *src.unsafeGetTensorImpl())) {
    return Kernel::call(self, src, non_blocking);
  }
  check_borrowed(self);
  check_borrowed(src);
  native_backend().copy(self.mutable_data_ptr(), src.const_data_ptr(), self.nbytes());
  return self;
}

/// Nothing is to be copied, and torch does not look at overlap.
bool is_same_data(const at::Tensor& self, const at::Tensor& src) {
  return self.is_same(src) ||
         (self.is_alias_of(src) && self.storage_offset() == src.storage_offset() && self.sizes() == src.sizes() &&
          self.strides() == src.strides() && self.scalar_type() == src.scalar_type() &&
          self.is_conj() == src.is_conj() && self.is_neg() == src.is_neg());
}

/// The CPU copies these.
bool is_absent(const at::Tensor& tensor) {
  return tensor.is_cuda() && (native_backend().absent_dtypes() & dtype_set({tensor.scalar_type()})) != 0;
}

/// What CUDA's copy looks at and MPS's does not: sizes that do not match, which it copies all the same, an empty
/// target, which it resizes, overlap, and imaginary parts, which are lost.
struct StridedCopyCheck {
  static void before(const at::Tensor& self, const at::Tensor& src, bool /*non_blocking*/) {
    if (self.layout() != c10::kStrided || src.layout() != c10::kStrided || is_same_data(self, src)) {
      return;
    }
    if (self.numel() > 0) {
      at::assert_no_internal_overlap(self);
      at::assert_no_partial_overlap(self, src);
    }
    const at::DimVector shape = at::infer_size_dimvector(self.sizes(), src.sizes());
    TORCH_CHECK(self.sizes() == shape, "output with shape ", self.sizes(), " doesn't match the broadcast shape ",
                shape);
    const bool is_real = !self.is_complex() && self.scalar_type() != c10::kBool;
    if (is_real && src.is_complex() && self.numel() > 0 && !is_absent(self) && !is_absent(src)) {
      TORCH_WARN_ONCE("Casting complex values to real discards the imaginary part");
    }
  }
};

using CheckedKernel = forward::Checked<Op, StridedCopyCheck, Kernel>;

/// Whether it goes between this device's memory and the host's.
bool crosses_to_host(const at::Tensor& self, const at::Tensor& src) {
  const at::Tensor& other = self.is_cuda() ? src : self;
  return self.is_cuda() != src.is_cuda() && other.is_cpu() && self.layout() == c10::kStrided &&
         src.layout() == c10::kStrided;
}

/// Over a backend with a queue. Its own copies to and from the host may read memory that was freed meanwhile, or that
/// lies otherwise than the strides say, and those of types that it lacks are the host's anyway. The host, which has the
/// same memory, waits and copies; so does a copy that is called non-blocking.
at::Tensor& queued_copy(at::Tensor& self, const at::Tensor& src, bool non_blocking) {
  if (!crosses_to_host(self, src)) {
    return forward::WithFallbackIfAny<Op, CheckedKernel>::call(self, src, non_blocking);
  }
  static forward::OperatorRecord& record = forward::operator_record(Op::name, Op::overload_name);
  forward::CallKind call(forward::report_is_on());
  call.see(self, /*is_written=*/true);
  call.see(src);
  const forward::Measured measured(record.native, call.bytes());
  record.native.calls.fetch_add(1, std::memory_order_relaxed);
  forward::run_on_host([&] { Kernel::call(self, src, non_blocking); });  // the CPU's checks itself
  return self;
}

}  // namespace

void register_copy(forward::Registrar& registrar) {
  if (forward::has_fallback()) {
    // No copy of memory: addresses are not the host's.
    registrar.implement<Op>(TORCH_FN(queued_copy));
  } else {
    registrar.implement<Op>(TORCH_FN(copy_));
  }
}

}  // namespace torchdevice::aten
