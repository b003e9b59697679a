// python/Gds.cpp: torch._C's functions of torch.cuda.gds: between a file and a storage on the device.

#include <ATen/ops/empty.h>
#include <c10/util/error.h>
#include <fcntl.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <set>
#include <string>

#include "native/Backend.h"
#include "python/Bindings.h"

// Note [GPUDirect Storage through the page cache]
// cuFile moves data between disk and GPU without the CPU. Here one copy goes through host memory: the same calls, the
// same bytes, the same errors. torch opens files with O_DIRECT, which asks for aligned memory and whole blocks; cuFile
// does not, so the flag is taken off a file when it is registered.

namespace torchdevice {
namespace {

/// Registered buffers, by address. Guarded by the GIL.
std::set<const void*>& buffers() {
  static auto* registered = new std::set<const void*>();
  return *registered;
}

std::string last_error() { return c10::utils::str_error(errno); }

int64_t register_handle(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  TORCH_CHECK(flags >= 0, "cuFileHandleRegister failed: ", last_error());
#ifdef O_DIRECT
  const auto buffered = static_cast<unsigned>(flags) & ~static_cast<unsigned>(O_DIRECT);
  TORCH_CHECK(fcntl(fd, F_SETFL, buffered) == 0, "cuFileHandleRegister failed: ", last_error());
#endif
  return fd;
}

// The file stays torch's to close.
void deregister_handle(int64_t /*handle*/) {}

void register_buffer(const at::Storage& storage) {
  TORCH_CHECK(buffers().insert(storage.data()).second, "cuFileBufRegister failed: buffer is already registered");
}

void deregister_buffer(const at::Storage& storage) {
  TORCH_CHECK(buffers().erase(storage.data()) == 1, "cuFileBufDeregister failed: buffer is not registered");
}

at::Tensor host_buffer(const at::Storage& storage) {
  return at::empty({static_cast<int64_t>(storage.nbytes())}, at::kByte);
}

at::Tensor bytes_of(const at::Storage& storage) {
  return at::empty({0}, at::TensorOptions(at::kByte).device(storage.device()))
      .set_(storage, 0, {static_cast<int64_t>(storage.nbytes())}, {1});
}

/// Calls `step(data, nbytes, offset)`, pread or pwrite, until all is done or it says 0; returns the bytes done.
template <class Step>
size_t transfer(Step step, size_t nbytes, const char* function) {
  size_t done = 0;
  while (done < nbytes) {
    const ssize_t now = step(done, nbytes - done);
    if (now < 0 && errno == EINTR) {
      continue;
    }
    TORCH_CHECK(now >= 0, function, " failed: ", last_error());
    if (now == 0) {
      break;
    }
    done += static_cast<size_t>(now);
  }
  return done;
}

void load_storage(int64_t handle, const at::Storage& storage, int64_t offset) {
  const auto buffer = host_buffer(storage);
  const size_t nbytes = storage.nbytes();
  size_t read = 0;
  {
    const py::gil_scoped_release no_gil;
    auto* data = static_cast<char*>(buffer.mutable_data_ptr());
    read = transfer(
        [&](size_t done, size_t left) {
          return pread(static_cast<int>(handle), data + done, left, offset + static_cast<off_t>(done));
        },
        nbytes, "cuFileRead");
  }
  TORCH_CHECK(read == nbytes, "cuFileRead partial read: expected ", nbytes, " bytes, got ", read);
  bytes_of(storage).copy_(buffer);
}

void save_storage(int64_t handle, const at::Storage& storage, int64_t offset) {
  const auto buffer = host_buffer(storage);
  buffer.copy_(bytes_of(storage));
  const size_t nbytes = storage.nbytes();
  const py::gil_scoped_release no_gil;
  const auto* data = static_cast<const char*>(buffer.const_data_ptr());
  const size_t written = transfer(
      [&](size_t done, size_t left) {
        return pwrite(static_cast<int>(handle), data + done, left, offset + static_cast<off_t>(done));
      },
      nbytes, "cuFileWrite");
  TORCH_CHECK(written == nbytes, "cuFileWrite partial write: expected ", nbytes, " bytes, wrote ", written);
}

}  // namespace

void add_gds(PyObject* torch_c) {
  auto m = py::handle(torch_c).cast<py::module>();
  // def() would chain onto the functions that torch.cuda.gds has put there, which only raise.
  const auto add = [&m](const char* name, auto function) {
    m.attr(name) = py::cpp_function(function, py::name(name), py::scope(m));
  };
  add("_gds_register_handle", &register_handle);
  add("_gds_deregister_handle", &deregister_handle);
  add("_gds_register_buffer", &register_buffer);
  add("_gds_deregister_buffer", &deregister_buffer);
  add("_gds_load_storage", &load_storage);
  add("_gds_save_storage", &save_storage);
}

}  // namespace torchdevice
