// forward/Registrar.cpp: puts kernels into the dispatcher under CUDA's keys.

#include "forward/Registrar.h"

namespace torchdevice::forward {

void Registrar::add(const c10::OperatorName& name, c10::DispatchKey key, c10::KernelFunction kernel) {
  // Leaked: a kernel must outlive every tensor that could still call it.
  static auto* handles = new std::vector<c10::RegistrationHandleRAII>();
  handles->push_back(c10::Dispatcher::singleton().registerImpl(name, key, std::move(kernel),
                                                               /*cpp_signature=*/std::nullopt,
                                                               /*inferred_function_schema=*/nullptr, "torchdevice"));
}

}  // namespace torchdevice::forward
