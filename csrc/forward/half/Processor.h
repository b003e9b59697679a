// forward/half/Processor.h: which instructions for halves the processor has, and oneDNN may use.

#pragma once

#include <string>

namespace torchdevice::forward {

/// What products of a half type run on.
struct HalfUnits {
  bool bfloat16 = false;  ///< AMX, or BF16 instructions
  bool float16 = false;   ///< AMX-FP16 or AVX512-FP16, or FP16 arithmetic
  std::string name;       ///< of the best of them, for people
};

HalfUnits half_units();

}  // namespace torchdevice::forward
