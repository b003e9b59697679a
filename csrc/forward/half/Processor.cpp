// forward/half/Processor.cpp: which instructions for halves the processor has, and oneDNN may use.

#include "forward/half/Processor.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace torchdevice::forward {
namespace {

#if defined(__x86_64__)
/// As oneDNN orders what ONEDNN_MAX_CPU_ISA may name; what it does not order is no bound.
enum class Isa { kAvx512 = 1, kAvx512Bf16, kAvx512Fp16, kAmx, kAmxFp16 };

Isa allowed_isa() {
  struct Named {
    std::string_view name;
    Isa isa;
  };
  static constexpr std::array kNames{
      Named{"SSE41", Isa{0}},
      Named{"AVX", Isa{0}},
      Named{"AVX2", Isa{0}},
      Named{"AVX2_VNNI", Isa{0}},
      Named{"AVX2_VNNI_2", Isa{0}},
      Named{"AVX512_CORE", Isa::kAvx512},
      Named{"AVX512_CORE_VNNI", Isa::kAvx512},
      Named{"AVX512_CORE_BF16", Isa::kAvx512Bf16},
      Named{"AVX10_1_512", Isa::kAvx512Fp16},
      Named{"AVX512_CORE_FP16", Isa::kAvx512Fp16},
      Named{"AVX10_1_512_AMX", Isa::kAmx},
      Named{"AVX512_CORE_AMX", Isa::kAmx},
  };
  const char* text = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (text == nullptr) {
    text = std::getenv("DNNL_MAX_CPU_ISA");
  }
  const std::string_view wanted = text != nullptr ? text : "";
  const auto* const named = std::find_if(kNames.begin(), kNames.end(), [&](const Named& one) {
    return std::equal(one.name.begin(), one.name.end(), wanted.begin(), wanted.end(),
                      [](char a, char b) { return a == (b >= 'a' && b <= 'z' ? b - 'a' + 'A' : b); });
  });
  return named != kNames.end() ? named->isa : Isa::kAmxFp16;
}

/// A bit of CPUID leaf 7: subleaf 0's EDX, subleaf 1's EAX.
bool has_bit(unsigned subleaf, unsigned bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, subleaf, &eax, &ebx, &ecx, &edx) != 0 && ((subleaf == 0 ? edx : eax) >> bit & 1U) != 0;
}
#endif

}  // namespace

HalfUnits half_units() {
  HalfUnits units;
#if defined(__x86_64__)
  constexpr unsigned kAmxBf16 = 22, kAvx512Fp16 = 23, kAmxFp16 = 21;
  const Isa allowed = allowed_isa();
  const bool amx = allowed >= Isa::kAmx && has_bit(0, kAmxBf16);
  const bool amx_fp16 = allowed >= Isa::kAmxFp16 && has_bit(1, kAmxFp16);
  const bool avx512_fp16 = allowed >= Isa::kAvx512Fp16 && has_bit(0, kAvx512Fp16);
  units.bfloat16 = amx;
  units.float16 = amx_fp16 || avx512_fp16;
  units.name = std::string(amx ? "AMX" : "") + (amx && avx512_fp16 ? ", " : "") + (avx512_fp16 ? "AVX512-FP16" : "") +
               (amx_fp16 ? ", AMX-FP16" : "");
#elif defined(__APPLE__)
  units = {.bfloat16 = false, .float16 = true, .name = "FP16 of the M1 and later"};
#elif defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long kHalfArithmetic = 1UL << 10U;  // HWCAP_ASIMDHP
  constexpr unsigned long kBfloat16 = 1UL << 14U;        // HWCAP2_BF16
  units.float16 = (getauxval(AT_HWCAP) & kHalfArithmetic) != 0;
  units.bfloat16 = (getauxval(AT_HWCAP2) & kBfloat16) != 0;
  units.name = std::string(units.bfloat16 ? "BF16" : "") + (units.bfloat16 && units.float16 ? ", " : "") +
               (units.float16 ? "FP16" : "");
#endif
  return units;
}

}  // namespace torchdevice::forward
