// check/Operators.cpp: what an operator reads and writes, as its schema says.

#include "check/Operators.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace torchdevice::check {
namespace {

/// Those that look at tensors without their memory, or change only what describes them, whatever their schema says.
bool touches_no_memory(const c10::OperatorHandle& op) {
  static const std::unordered_set<std::string_view> names{
      "aten::record_stream",  "aten::resize_",         "aten::resize_as_", "aten::set_",
      "aten::is_same_size",   "aten::_resize_output_", "aten::is_pinned",  "aten::_debug_has_internal_overlap",
      "aten::requires_grad_", "aten::retain_grad",     "aten::set_data",   "aten::_has_compatible_shallow_copy_type"};
  return names.contains(op.schema().name()) || op.hasTag(at::Tag::inplace_view);
}

/// Views by their schema; tolist() calls them on what it is about to read.
bool looks_at_values(std::string_view name) { return name == "aten::resolve_conj" || name == "aten::resolve_neg"; }

/// new_empty, zeros_like and their kin take nothing from the tensor but its description.
bool is_factory(std::string_view name) {
  return name.starts_with("aten::new_") || name.ends_with("_like") || name.starts_with("aten::empty");
}

/// The batch norms of schemas that are older than alias annotations.
bool is_written_unsaid(const std::string& argument) { return argument == "running_mean" || argument == "running_var"; }

/// In-place operators that overwrite all of `self` without a look at it.
bool overwrites_self(std::string_view name) {
  static const std::unordered_set<std::string_view> names{
      "aten::zero_",       "aten::fill_",          "aten::copy_",         "aten::random_",    "aten::uniform_",
      "aten::normal_",     "aten::cauchy_",        "aten::geometric_",    "aten::bernoulli_", "aten::exponential_",
      "aten::log_normal_", "aten::_foreach_zero_", "aten::_foreach_copy_"};
  return names.contains(name);
}

/// Of torch.distributed, and of FSDP around it: what they write is in no schema, and their results are their arguments.
bool is_collective(std::string_view name) { return name.starts_with("c10d::") || name.starts_with("fsdp::"); }

Reading reading_of(std::string_view name) {
  if (is_collective(name)) {
    return Reading::kUnknown;
  }
  static const std::unordered_set<std::string_view> copies{"aten::copy_", "aten::clone", "aten::_to_copy"};
  if (copies.contains(name)) {
    return Reading::kCopies;
  }
  static const std::unordered_set<std::string_view> partly{
      "aten::where", "aten::gather", "aten::tril",         "aten::triu",           "aten::tril_",
      "aten::triu_", "aten::put_",   "aten::grid_sampler", "aten::cholesky_solve", "aten::triangular_solve"};
  static constexpr std::array kKinds{"aten::index",   "aten::_index",     "aten::take",        "aten::embedding",
                                     "aten::masked",  "aten::_embedding", "aten::scatter",     "aten::linalg",
                                     "aten::_linalg", "aten::cholesky",   "aten::_ctc",        "aten::_pack",
                                     "aten::_nested", "aten::nll_loss",   "aten::_pad_packed", "aten::_foreach_copy_"};
  const bool is_kind = std::ranges::any_of(kKinds, [name](std::string_view kind) { return name.starts_with(kind); });
  return is_kind || partly.contains(name) ? Reading::kPartly : Reading::kExactly;
}

/// Collectives say nothing of what they write but by their arguments' names.
Use use_in_collective(const std::string& argument) {
  if (argument.find("output") != std::string::npos) {
    return Use::kWrite;
  }
  return argument.find("input") != std::string::npos ? Use::kRead : Use::kReadAndWrite;
}

Use use_of(const c10::OperatorHandle& op, const c10::Argument& argument) {
  const std::string& name = op.schema().name();
  if (touches_no_memory(op)) {
    return Use::kNone;
  }
  if (looks_at_values(name)) {
    return Use::kRead;
  }
  if (const c10::AliasInfo* alias = argument.alias_info()) {
    if (!alias->isWrite()) {
      return Use::kNone;
    }
    return argument.is_out() || overwrites_self(name) ? Use::kWrite : Use::kReadAndWrite;
  }
  if (is_collective(name)) {
    return use_in_collective(argument.name());
  }
  if (is_written_unsaid(argument.name())) {
    return Use::kReadAndWrite;
  }
  return is_factory(name) ? Use::kNone : Use::kRead;
}

Operator make_operator(const c10::OperatorHandle& op) {
  const c10::FunctionSchema& schema = op.schema();
  Operator made;
  made.name = schema.name() + (schema.overload_name().empty() ? "" : "." + schema.overload_name());
  for (const c10::Argument& argument : schema.arguments()) {
    made.arguments.push_back({argument.name(), use_of(op, argument)});
  }
  const bool gives_memory = schema.name().find("empty") == std::string::npos && !is_collective(schema.name());
  for (size_t i = 0; i < schema.returns().size(); ++i) {
    const bool is_new = schema.returns()[i].alias_info() == nullptr && gives_memory && !touches_no_memory(op);
    const std::string number = schema.returns().size() == 1 ? "the result" : "result " + std::to_string(i);
    made.results.push_back({number, is_new ? Use::kWrite : Use::kNone});
  }
  made.reading = reading_of(schema.name());
  if (const std::optional<int> beta = schema.argumentIndexWithName("beta"); beta.has_value()) {
    made.beta = static_cast<size_t>(*beta);
  }
  // What has no kernel at all for CUDA or composite goes through the boxed fallback, in one piece.
  const bool is_aten = schema.name().starts_with("aten::");
  const bool has_cuda = op.hasKernelForDispatchKey(c10::DispatchKey::CUDA);
  made.has_kernel = has_cuda || !(is_aten || op.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) ||
                                  op.hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd));
  // Kernels of other libraries may change streams inside.
  made.is_whole = is_aten;
  made.is_cast_by_autocast = op.hasKernelForDispatchKey(c10::DispatchKey::AutocastCUDA);
  return made;
}

class KnownOperators {
 public:
  // By the address of the schema's name, of which each operator has its own as long as it is registered.
  const Operator* find(const at::RecordFunction& function) {
    const char* name = function.name();
    {
      const std::lock_guard guard(mutex_);
      const auto known = by_address_.find(name);
      if (known != by_address_.end() && is_named(known->second, name, function.overload_name())) {
        return known->second;
      }
    }
    const std::optional<c10::OperatorName> full = function.operator_name();
    const auto handle = full.has_value() ? c10::Dispatcher::singleton().findSchema(*full) : std::nullopt;
    const Operator* found = handle.has_value() ? &find(*handle) : nullptr;
    const std::lock_guard guard(mutex_);
    by_address_.insert_or_assign(name, found);
    return found;
  }

  const Operator& find(const c10::OperatorHandle& handle) {
    const c10::OperatorName& name = handle.operator_name();
    const std::lock_guard guard(mutex_);
    if (const auto known = by_name_.find(name); known != by_name_.end()) {
      return *known->second;
    }
    return *by_name_.emplace(name, new Operator(make_operator(handle))).first->second;
  }

 private:
  static bool is_named(const Operator* op, const char* name, const char* overload) {
    const size_t length = std::strlen(name);
    return op != nullptr && op->name.compare(0, length, name) == 0 &&
           (op->name.size() == length ? *overload == '\0'
                                      : op->name.compare(length + 1, std::string::npos, overload) == 0);
  }

  std::mutex mutex_;
  std::unordered_map<const char*, const Operator*> by_address_;
  std::unordered_map<c10::OperatorName, const Operator*> by_name_;
};

KnownOperators& known_operators() {
  static auto* const all = new KnownOperators();
  return *all;
}

}  // namespace

const Operator* find_operator(const at::RecordFunction& function) { return known_operators().find(function); }

const Operator& find_operator(const c10::OperatorHandle& handle) { return known_operators().find(handle); }

}  // namespace torchdevice::check
