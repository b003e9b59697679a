// check/Operators.h: what an operator reads and writes, as its schema says.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace torchdevice::check {

/// What becomes of an argument's memory; an argument that is only looked at (a view's, a factory's) has kNone.
enum class Use : uint8_t { kNone, kRead, kWrite, kReadAndWrite };

constexpr bool reads(Use use) noexcept { return use == Use::kRead || use == Use::kReadAndWrite; }
constexpr bool writes(Use use) noexcept { return use == Use::kWrite || use == Use::kReadAndWrite; }

/// How it looks at what it reads.
enum class Reading : uint8_t {
  kExactly,  ///< at all of it
  kPartly,   ///< at what other arguments say
  kCopies,   ///< only to have it elsewhere
  kUnknown,  ///< its schema does not tell what is read and what is written
};

struct Operator {
  struct Value {
    std::string name;
    Use use;
  };

  std::string name;  ///< with its overload
  std::vector<Value> arguments;
  std::vector<Value> results;  ///< kWrite where the result is new memory
  bool has_kernel = false;     ///< of its own for CUDA: no composite, whose parts are seen
  bool is_whole = false;       ///< its parts are not looked at
  bool is_cast_by_autocast = false;
  Reading reading = Reading::kExactly;
  std::optional<size_t> beta;  ///< the argument by which `self` is multiplied: with 0 nobody looks at it

  const std::string& name_of(size_t value) const {
    return value < arguments.size() ? arguments[value].name : results[value - arguments.size()].name;
  }
};

/// Kept for ever. Null for what is no operator.
const Operator* find_operator(const at::RecordFunction& function);
const Operator& find_operator(const c10::OperatorHandle& handle);

}  // namespace torchdevice::check
