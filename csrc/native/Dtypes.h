// native/Dtypes.h: sets of data types.

#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <initializer_list>

namespace torchdevice {

/// Bit 1 << ScalarType of each data type in it.
using DtypeSet = uint64_t;

constexpr DtypeSet dtype_set(std::initializer_list<c10::ScalarType> dtypes) {
  static_assert(c10::NumScalarTypes <= 64);
  DtypeSet set = 0;
  for (const c10::ScalarType dtype : dtypes) {
    set |= DtypeSet{1} << static_cast<unsigned>(dtype);
  }
  return set;
}

}  // namespace torchdevice
