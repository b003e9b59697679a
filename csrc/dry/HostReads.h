// dry/HostReads.h: what a program reads of a device that computed nothing.

#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace torchdevice::dry {

// Note [Plausible values]
// A tensor of one element that was filled with a number, or came from the host, has that number as long as nothing else
// writes to it. So has a small tensor that came from the host as a whole. What inf-checks of gradients write to keeps
// what it had: no overflow is assumed. Every other number reads as 1. A truth value reads as true, unless it says that
// something is wrong or different (any, ne, isnan, isinf).

/// The results of an operator, and what it wrote to, have no known value any more.
void forget_values(const c10::OperatorHandle& op, const torch::jit::Stack& arguments, const torch::jit::Stack& results);

// Boxed kernels.

void read_scalar(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);
void read_equal(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);
void copy(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);
void fill(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);
void zero(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

/// Something that depends on data was asked for, at this moment, by the program's innermost line.
void note_read(const char* what);

/// (what, "file:line"): how often.
using Reads = std::map<std::pair<std::string, std::string>, uint64_t>;
Reads host_reads();

struct CopiedBytes {
  uint64_t to_device = 0;
  uint64_t to_host = 0;
  uint64_t between_devices = 0;
};
CopiedBytes copied_bytes();

/// Says where the program is.
void set_call_site_reader(std::string (*reader)());

}  // namespace torchdevice::dry
