// python/Names.h: the names that a CUDA build has on torch._C, in modules of ours.

#pragma once

#include <torch/csrc/utils/pybind.h>

namespace torchdevice {

/// A module that carries the name of one of torch's, but is not in sys.modules: on a CUDA build that would find
/// torch's, and add to it.
py::module_ add_submodule(const py::module_& parent, const char* name);

/// torch._C and its submodules as a CUDA build has them, with the names that are ours alone. Made once: pybind11 knows
/// a type by one name. torchdevice/patches/cuda.py puts them onto torch's. With the GIL, after activate().
py::module_ names_of_a_cuda_build();

}  // namespace torchdevice
