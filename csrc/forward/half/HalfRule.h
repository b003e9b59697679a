// forward/half/HalfRule.h: which operators compute float16 and bfloat16 in float32 on this processor.

#pragma once

#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdint>
#include <string>
#include <vector>

#include "native/Dtypes.h"

namespace torchdevice::forward {

// Note [Half precision]
// A GPU's kernels read halves, compute in float32 and round once. Some of the CPU's kernels compute in halves, and many
// are slower than their float32 ones where the processor has no instructions for halves. Those are not used: the
// operator runs on float32 copies of its halves, and its results are rounded. Which operators these are was measured
// (docs/half-precision.md); which processor this is, is asked once, at activation.

struct HalfRule {
  /// Half types that are computed in float32.
  DtypeSet in_float32 = 0;
  /// Bit i: result i stays float32, as on a GPU: statistics that a backward pass reads.
  uint32_t wide_results = 0;
  /// Each element of the result depends on those in its place alone: computed block by block.
  bool elementwise = false;
  /// Where it trains it writes to running_mean and running_var, of which its schema says nothing.
  bool updates_statistics = false;
};

/// Where a half type's native kernel is at most 1.3 times as slow as float32's, and within 2 ulp of it rounded.
enum class Native : uint8_t {
  kNever,
  kWithUnits,     ///< of the type: Processor.h
  kWithoutUnits,  ///< oneDNN takes over where there are some, and is slower
  kAlways,
};

/// A row of HALVES_IN_FLOAT32 in codegen/rules.py, for one form of an operator.
struct HalfOperator {
  const char* name;
  const char* overload;
  Native bfloat16;
  Native float16;
  uint32_t wide_results;
  bool elementwise;
  bool updates_statistics;
  c10::KernelFunction (*wrap)(const c10::OperatorHandle& op, const HalfRule& rule, const c10::KernelFunction& kernel);
};

/// All of them; generated.
const std::vector<HalfOperator>& half_operators();

/// Reads TORCHDEVICE_HALF and decides for this processor; throws c10::ValueError for an unknown value. Before the first
/// kernel is registered.
void read_half_rule();

/// An operator's kernel, or one that computes in float32 what this processor does not compute well in halves.
c10::KernelFunction with_half_rule(const char* name, const char* overload, c10::KernelFunction kernel);

/// Whether recurrent layers of that type run in float32 as a whole.
enum class Recurrent : uint8_t { kLstm, kOther };
bool runs_in_float32(Recurrent layers, c10::ScalarType type);

/// For people: which types are computed how, and why.
std::string describe_half_rule();

}  // namespace torchdevice::forward
