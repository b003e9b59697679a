// forward/Registrar.cpp: puts kernels into the dispatcher under CUDA's keys.

#include "forward/Registrar.h"

namespace torchdevice::forward {

void Registrar::add(const c10::OperatorName& name, c10::DispatchKey key, c10::KernelFunction kernel) {
  // Ends at exit, before torch's own registrations: each fallback that torch takes back then goes through every
  // operator that still has a kernel.
  static std::vector<c10::RegistrationHandleRAII> handles;
  handles.push_back(c10::Dispatcher::singleton().registerImpl(name, key, std::move(kernel),
                                                              /*cpp_signature=*/std::nullopt,
                                                              /*inferred_function_schema=*/nullptr, "torchdevice"));
}

void Registrar::add(const char* name, const char* overload, c10::KernelFunction kernel) {
  add({name, overload}, c10::DispatchKey::CUDA, std::move(kernel));
}

}  // namespace torchdevice::forward
