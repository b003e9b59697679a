// forward/fallback/FallbackPolicy.h: why a call falls back to the CPU, and what the user wants to happen then.

#pragma once

#include <cstdint>
#include <string>

namespace torchdevice::forward {

/// Why a call runs on the CPU.
enum class Obstacle : uint8_t { kNone, kForced, kNoKernel, kDataType, kRefused, kFailed, kKnownWrong, kLayout };

/// For people, with the backend's title: "MPS has no kernel for it".
std::string describe(Obstacle obstacle);

/// Reads TORCHDEVICE_FALLBACK; throws c10::ValueError if it is none of its values. Before the first kernel runs.
void read_fallback_policy();

/// Whether TORCHDEVICE_FALLBACK=error keeps everything from the CPU.
bool fallback_is_forbidden() noexcept;
/// Throws c10::NotImplementedError if TORCHDEVICE_FALLBACK=error keeps the operator `name` from the CPU.
void check_fallback(const std::string& name, Obstacle obstacle);
/// Under TORCHDEVICE_FALLBACK=warn, says that it runs there.
void warn_of_fallback(const std::string& name, Obstacle obstacle);

}  // namespace torchdevice::forward
