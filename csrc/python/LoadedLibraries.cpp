// python/LoadedLibraries.cpp: libraries with compiled CUDA code that are loaded after activation.

#include <torch/csrc/utils/pybind.h>

#include <string>
#include <string_view>

#ifdef __linux__
#include <dlfcn.h>
#include <link.h>
#endif

#include "forward/Sweep.h"
#include "python/Bindings.h"
#include "runtime/SilentWarnings.h"

namespace torchdevice {
namespace {

#ifdef __linux__
/// Whether the library, which is loaded, asks for one of CUDA's libraries, or of a CUDA build of torch.
bool needs_cuda(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  link_map* map = nullptr;
  if (library == nullptr || dlinfo(library, RTLD_DI_LINKMAP, static_cast<void*>(&map)) != 0) {
    return false;
  }
  dlclose(library);  // whoever loaded it keeps it
  const char* names = nullptr;
  for (const auto* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_STRTAB) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): an address, which the loader holds as an integer
      names = reinterpret_cast<const char*>(entry->d_un.d_ptr);
    }
  }
  for (const auto* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_NEEDED) {
      std::string_view needed(names + entry->d_un.d_val);
      needed.remove_prefix(needed.rfind('/') + 1);  // nearly always a name, but it may be a path
      if (needed.starts_with("libcudart.") || needed.starts_with("libtorch_cuda") ||
          needed.starts_with("libc10_cuda")) {
        return true;
      }
    }
  }
  return false;
}
#else
/// There are none for other systems.
bool needs_cuda(const std::string& /*path*/) { return false; }
#endif

void sweep_after(const std::string& path) {
  if (needs_cuda(path)) {
    const SilentWarnings silent;  // torch warns of every kernel that is replaced; here that is the purpose
    forward::Registrar registrar;
    forward::sweep(registrar);
  }
}

}  // namespace

void add_library_patch(PyObject* torchdevice_c) {
  py::reinterpret_borrow<py::module_>(torchdevice_c)
      .def("sweep_after", &sweep_after, py::arg("path"))
      .def("take_over", [](const std::string& name, const std::string& overload) {
        forward::Registrar registrar;
        return forward::take_over(registrar, {name, overload});
      });
}

}  // namespace torchdevice
