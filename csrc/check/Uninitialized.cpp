// check/Uninitialized.cpp: operators that read what nobody has written.

#include "check/Uninitialized.h"

#include <utility>

namespace torchdevice::check {
namespace {

const void* memory_of(const at::Tensor& tensor) { return tensor.storage().data(); }

}  // namespace

void Uninitialized::use(const Caller& caller, Used used, std::optional<Used>& other) {
  const void* memory = memory_of(used.tensor);
  if (caller.op.reading == Reading::kCopies) {
    if (!other.has_value()) {
      other = std::move(used);
    } else if (writes(used.how)) {
      copy(caller, *other, used);
    } else {
      copy(caller, used, *other);
    }
    return;
  }
  if (reads(used.how) && caller.op.reading != Reading::kUnknown) {
    const uint64_t bytes = contents_.unwritten(memory, used.region);
    const bool reads_all = caller.op.reading == Reading::kExactly;
    if (bytes != 0 && (reads_all || (bytes == used.region.size() && !writes(used.how)))) {
      report(caller, used, bytes);
      contents_.write(memory, used.region);  // told once
    }
  }
  if (writes(used.how)) {
    contents_.write(memory, used.region);
  }
}

void Uninitialized::copy(const Caller& caller, const Used& source, const Used& target) {
  if (target.tensor.is_cuda()) {
    contents_.copy(memory_of(target.tensor), target.region, memory_of(source.tensor), source.region);
  } else if (const uint64_t bytes = contents_.unwritten(memory_of(source.tensor), source.region); bytes != 0) {
    report(caller, source, bytes);
    contents_.write(memory_of(source.tensor), source.region);
  }
}

void Uninitialized::report(const Caller& caller, const Used& used, uint64_t bytes) {
  const std::string& argument = caller.op.name_of(used.value);
  const StackId origin = contents_.origin(memory_of(used.tensor));
  Finding finding{"uninitialized",
                  {},
                  {},
                  {{"allocation", {}, {}, origin}, {caller.op.name, argument, caller.stream, caller.stack}}};
  finding.explanation = caller.op.name + " reads " + std::to_string(bytes) + " of the " +
                        std::to_string(used.region.size()) + " bytes of " + argument +
                        " before anybody has written them. On a GPU they hold whatever was there.";
  finding.remedy = "Fill the tensor first (torch.zeros, fill_, copy_), or read only the part that was written.";
  findings().add(std::move(finding));
}

}  // namespace torchdevice::check
