// forward/Masquerade.h: key sets and devices on both sides of the masquerade.

#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/Device.h>
#include <c10/core/DispatchKeySet.h>

#include <bit>

namespace torchdevice::forward {

/// One word of a TensorImpl holds its dtype, its device and its flags. Copied flag by flag, as torch does, it costs
/// more than all other metadata together.
struct AliasWord {
  uint64_t unusual = 0;  ///< the flags of tensors that keep metadata elsewhere; all bits where no alias is usual
  uint64_t kept = 0;     ///< what an alias has from its source: all but the device, and that metadata may change
  uint64_t added = 0;
};

/// The native backend's and the CPU's; see below.
inline constexpr size_t kMasquerades = 2;

/// What changes when a tensor crosses between "cuda" and the device type that works for it; set once, at activation.
struct Masquerade {
  size_t ordinal = 0;
  c10::Device native_device{c10::DeviceType::CPU};
  /// Where a dense operator is redispatched.
  c10::DispatchKeySet native_dense;
  uint64_t native_backend_bit = 0;
  uint64_t native_autocast_key = 0;
  /// Keys that tell a fresh result whose memory already is the device's; all bits where it never is.
  uint64_t dense_native_keys = 0;
  /// All keys of nearly every such result, and what they become.
  uint64_t usual_result_keys = 0;
  c10::DispatchKeySet usual_adopted_keys;
  AliasWord alias_word;
  /// Where the storages of CUDA tensors get their memory.
  c10::Allocator* allocator = nullptr;
  /// The CPU over another backend's memory: it has a second address for the host.
  bool translates_addresses = false;
  bool has_choice = false;
};

/// The native backend's.
extern Masquerade masquerade;
/// The CPU's, where the native backend is another one: what that cannot run falls back to it. See
/// forward/fallback/Fallback.h.
extern Masquerade host_masquerade;

/// Whether there is something to fall back to.
inline bool has_fallback() noexcept { return masquerade.native_device.type() != c10::DeviceType::CPU; }

/// Whether calls are chosen for (forward/fallback/Fallback.h): where there is a fallback, or a report is made of the
/// calls.
inline bool has_choice() noexcept { return masquerade.has_choice; }

/// Read the chosen native backend; before the first kernel runs.
void begin_masquerade();

/// The set as an integer at compile time, which raw_repr() is not.
constexpr uint64_t bits(c10::DispatchKeySet keys) { return std::bit_cast<uint64_t>(keys); }

inline constexpr uint64_t kCudaBackendBit = bits(c10::DispatchKeySet(c10::BackendComponent::CUDABit));
inline constexpr uint64_t kCudaAutocastKey = bits(c10::DispatchKeySet(c10::DispatchKey::AutocastCUDA));
inline constexpr uint64_t kDenseKey = bits(c10::DispatchKeySet(c10::DispatchKey::Dense));

/// An alias keeps its source's autograd keys, since a composite kernel below may mix it with tensors that have them,
/// and bits that kernels look at; not its autocast and Python keys, which are for the operator as the user called it.
inline constexpr uint64_t kAliasKeys = bits(c10::DispatchKeySet(
    {c10::DispatchKey::Dense, c10::DispatchKey::Conjugate, c10::DispatchKey::Negative, c10::DispatchKey::ZeroTensor,
     c10::DispatchKey::ADInplaceOrView, c10::DispatchKey::AutogradFunctionality}));

/// The keys of an alias of a tensor with the keys `cuda`.
inline c10::DispatchKeySet alias_keys(c10::DispatchKeySet cuda, const Masquerade& native) {
  return {c10::DispatchKeySet::RAW, (cuda.raw_repr() & kAliasKeys) | native.native_backend_bit};
}

/// The keys of a CUDA tensor made from a native result with the keys `keys`.
inline c10::DispatchKeySet adopted_keys(c10::DispatchKeySet keys, const Masquerade& native) {
  const uint64_t kept = keys.raw_repr() & ~(c10::full_backend_mask | native.native_autocast_key);
  return {c10::DispatchKeySet::RAW, kept | kCudaBackendBit | kCudaAutocastKey};
}

}  // namespace torchdevice::forward
