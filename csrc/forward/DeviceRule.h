// forward/DeviceRule.h: what an operator does when its arguments live on different devices.

#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

namespace torchdevice::forward {

/// What torch with CUDA does with arguments on different devices, operator by operator.
enum class Mixing {
  kSameDevice,      ///< the generated check: every tensor on one device, scalars included
  kTensorIterator,  ///< one device, but zero-dimensional CPU tensors may be read
  kIndices,         ///< indices may live on the CPU, values as for kTensorIterator
  kMask,            ///< tensor and mask on one device, the value anywhere
  kConvolution,     ///< as kComposite; torch.jit.trace gets the composite kernel, too
  kComposite,       ///< the operator's composite kernel decides, on the tensors as they are
  kAnyDevice,       ///< copies between devices
};

/// An argument that the generated check looks at: its position in the operator's C++ signature and its name.
struct CheckedArgument {
  int position;
  const char* name;
};

struct RefusedTypes;

struct Rule {
  Mixing mixing = Mixing::kSameDevice;
  /// The name in torch's message, e.g. "wrapper_CUDA_addmm".
  const char* method = "";
  const CheckedArgument* checked = nullptr;
  size_t checked_count = 0;
  /// An in-place operator that leaves the metadata and the memory of what it writes to as they are.
  bool writes_elements_only = false;
  /// Types that only the native kernel knows: checks/RefusedTypes.h.
  const RefusedTypes* refused = nullptr;
};

/// A tensor argument seen by the error path: its position, and whether the operator writes to it.
struct SeenTensor {
  int position;
  at::Tensor tensor;
  bool written;
};

/// Raise what torch with CUDA raises for these arguments; returns if CUDA accepts them.
void check_devices(const Rule& rule, const std::vector<SeenTensor>& tensors);

}  // namespace torchdevice::forward
