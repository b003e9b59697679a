// native/mps/KnownWrong.h: what MPS gets wrong in the supported releases of torch, and what is done instead.

#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "native/Backend.h"

namespace torchdevice {

/// The rules for a processor of that name; none under TORCHDEVICE_TRUST_MPS=1.
std::vector<KnownWrong> mps_known_wrong(const std::string& processor);

// The rules that are more than a question and the way to the CPU.

/// Sums of long products, in parts.
void split_long_products(DoubtfulCall& call);
/// Whether `split_long_products`, or a rule for complex products, may have to do with it.
bool is_long_or_complex(const at::Tensor& tensor);
/// Arguments that are read, as they would lie in a fresh tensor; results in the memory format that CUDA gives them.
void lay_out_arguments(DoubtfulCall& call);
void lay_out_arguments_densely(DoubtfulCall& call);
/// Transposed convolutions of halves in three dimensions, in float32.
void widen_transposed_3d(DoubtfulCall& call);
/// out=: the form without it, whose results are copied.
void copy_into_out(DoubtfulCall& call);

/// The argument in that place if it is a CUDA tensor, else an undefined tensor.
at::Tensor tensor_argument(DoubtfulCall& call, size_t position);

}  // namespace torchdevice
