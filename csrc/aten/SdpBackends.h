// aten/SdpBackends.h: which of CUDA's attention kernels scaled_dot_product_attention takes.

#pragma once

#include <ATen/native/transformers/sdp_utils_cpp.h>

namespace torchdevice::aten {

/// What torch's native/transformers/cuda/sdp_utils.cpp chooses on a GPU of this compute capability, by type, shape, the
/// switches of torch.backends.cuda and the order of torch.nn.attention. Throws where nothing that is enabled fits.
sdp::SDPBackend choose_attention(const sdp::sdp_params& params);

/// Whether a kernel may be taken for these arguments; with `debug` a warning says why not.
bool can_use(sdp::SDPBackend backend, const sdp::sdp_params& params, bool debug);

}  // namespace torchdevice::aten
