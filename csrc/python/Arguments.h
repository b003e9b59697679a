// python/Arguments.h: what functions of the C API read from their arguments.

#pragma once

#include <c10/core/Device.h>
#include <c10/util/Exception.h>
#include <torch/csrc/utils/python_numbers.h>

namespace torchdevice {

/// The index of a device. RuntimeError, with the name of the function, for what is no integer.
inline c10::DeviceIndex device_argument(PyObject* argument, const char* function) {
  TORCH_CHECK(THPUtils_checkLong(argument), "invalid argument to ", function);
  return THPUtils_unpackDeviceIndex(argument);
}

}  // namespace torchdevice
