// python/Tunable.cpp: torch._C's functions of torch.cuda.tunable.

#include <c10/util/env.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/csrc/utils/python_numbers.h>
#include <torch/csrc/utils/python_strings.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "native/Backend.h"
#include "python/Bindings.h"
#include "runtime/Device.h"
#include "runtime/DeviceProfile.h"

// Note [TunableOp without kernels to choose from]
// TunableOp times cuBLAS's kernels for each shape and keeps the best. There is one native kernel, so nothing is ever
// tuned or recorded. Settings, environment variables and files behave as in a CUDA build: a file that another machine
// wrote is validated, read, and listed by get_results().

namespace torchdevice {
namespace {

constexpr int64_t kBytesPerMegabyte = int64_t{1024} * 1024;
constexpr const char* kMaskHandle = "torch.cuda.tunable.dynamic_dims_mask";

/// Key and milliseconds of the kernel chosen for (operator signature, parameter signature).
using Results = std::map<std::pair<std::string, std::string>, std::pair<std::string, double>>;

bool env_is(const char* name, const char* value) { return c10::utils::get_env(name) == value; }

std::optional<int> env_number(const char* name) {
  const auto text = c10::utils::get_env(name);
  return text.has_value() ? std::optional(std::stoi(*text)) : std::nullopt;
}

/// The settings, with CUDA's defaults. The environment wins over them, as it was when it was first asked.
/// Guarded by the GIL.
struct TunableState {
  bool enabled = false;
  bool tuning = true;
  bool recording = false;
  int max_duration_ms = 30;
  int max_iterations = 100;
  int rotating_buffer_bytes = -1;  ///< negative: as large as the L2 cache
  int cublaslt_algorithms = 8;
  bool wildcard_fallback = false;
  std::string filename;
  bool file_was_read = false;
  Results results;
};

TunableState& state() {
  static auto* instance = new TunableState();
  return *instance;
}

/// Negative stays negative; what an int cannot hold is cut to what it can.
int bytes_of(int megabytes) {
  const int64_t most = std::numeric_limits<int>::max();
  return static_cast<int>(std::clamp(megabytes * kBytesPerMegabyte, int64_t{-1}, most));
}

int l2_cache_bytes() {
  const auto* profile = device_profile();
  return static_cast<int>(profile ? profile->l2_cache_bytes : native_backend().host().l2_cache_bytes);
}

/// Puts the device's ordinal where "%d" is, else before the last dot, else at the end.
std::string with_ordinal(std::string filename) {
  const std::string ordinal = std::to_string(current_device());
  if (const auto token = filename.find("%d"); token != std::string::npos) {
    return filename.replace(token, 2, ordinal);
  }
  return filename.insert(std::min(filename.rfind('.'), filename.size()), ordinal);
}

/// True where the file's validators are ours: the version of torch alone, outside ROCm.
bool validators_match(const std::map<std::string, std::string>& found) {
  if (!found.contains("PT_VERSION")) {
    return false;
  }
  for (const auto& [key, value] : found) {
    if (key != "PT_VERSION") {
      TORCH_WARN("Unmatched validator: \"", key, "\" is provided, but pytorch is unable to consume it. ");
      return false;
    }
    if (value != TORCH_VERSION) {
      TORCH_WARN("Failed validator: ", key);
      return false;
    }
  }
  return true;
}

bool read_results(const std::string& filename) {
  std::ifstream file(filename);
  if (!file) {
    return false;
  }
  Results found;
  std::map<std::string, std::string> validators;
  for (std::string line; std::getline(file, line);) {
    std::vector<std::string> parts;
    std::istringstream fields(line);
    for (std::string part; std::getline(fields, part, ',');) {
      parts.push_back(part);
    }
    if (parts.size() < 3) {
      continue;
    }
    if (parts[0] == "Validator") {
      validators[parts[1]] = parts[2];
    } else {
      found.try_emplace({parts[0], parts[1]}, parts[2],
                        parts.size() > 3 ? std::strtod(parts[3].c_str(), nullptr) : 0.0);
    }
  }
  if (!validators_match(validators)) {
    return false;
  }
  state().results.merge(found);
  return true;
}

/// The results; the first request reads the file of results, as a CUDA build does.
const Results& results() {
  auto& tunable = state();
  if (!std::exchange(tunable.file_was_read, true)) {
    if (tunable.filename.empty()) {
      tunable.filename =
          with_ordinal(c10::utils::get_env("PYTORCH_TUNABLEOP_FILENAME").value_or("tunableop_results.csv"));
    }
    if (!tunable.recording) {
      read_results(tunable.filename);
    }
  }
  return tunable.results;
}

bool bool_argument(PyObject* argument, const char* function) {
  TORCH_CHECK(PyBool_Check(argument), function, " expects a bool, but got ", THPUtils_typename(argument));
  return argument == Py_True;
}

int int_argument(PyObject* argument, const char* function) {
  TORCH_CHECK(THPUtils_checkLong(argument), function, " expects an int, but got ", THPUtils_typename(argument));
  return static_cast<int>(THPUtils_unpackLong(argument));
}

PyObject* enable_tunable(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  state().enabled = bool_argument(argument, "cuda_tunableop_enable");
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* tunable_is_enabled(PyObject* /*self*/, PyObject* /*none*/) {
  static const bool forced = env_is("PYTORCH_TUNABLEOP_ENABLED", "1");
  return PyBool_FromLong(forced || state().enabled);
}

PyObject* tuning_enable(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  state().tuning = bool_argument(argument, "cuda_tunableop_tuning_enable");
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* tuning_is_enabled(PyObject* /*self*/, PyObject* /*none*/) {
  static const bool forbidden = env_is("PYTORCH_TUNABLEOP_TUNING", "0");
  return PyBool_FromLong(!forbidden && state().tuning);
}

PyObject* record_untuned_enable(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  state().recording = bool_argument(argument, "cuda_record_untuned_enable");
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* record_untuned_is_enabled(PyObject* /*self*/, PyObject* /*none*/) {
  static const bool forced = env_is("PYTORCH_TUNABLEOP_RECORD_UNTUNED", "1");
  return PyBool_FromLong(forced || state().recording);
}

PyObject* set_max_tuning_duration(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  state().max_duration_ms = std::max(0, int_argument(argument, "cuda_tunableop_set_max_tuning_duration"));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* get_max_tuning_duration(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  static const auto fixed = env_number("PYTORCH_TUNABLEOP_MAX_TUNING_DURATION_MS");
  return THPUtils_packInt32(std::max(0, fixed.value_or(state().max_duration_ms)));
  END_HANDLE_TH_ERRORS
}

PyObject* set_max_tuning_iterations(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  state().max_iterations = std::max(0, int_argument(argument, "cuda_tunableop_set_max_tuning_iterations"));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* get_max_tuning_iterations(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  static const auto fixed = env_number("PYTORCH_TUNABLEOP_MAX_TUNING_ITERATIONS");
  return THPUtils_packInt32(std::max(0, fixed.value_or(state().max_iterations)));
  END_HANDLE_TH_ERRORS
}

PyObject* set_rotating_buffer_size(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  state().rotating_buffer_bytes = bytes_of(int_argument(argument, "cuda_tunableop_set_rotating_buffer_size"));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

/// Bytes, although torch's documentation says kilobytes.
PyObject* get_rotating_buffer_size(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  static const auto fixed = env_number("PYTORCH_TUNABLEOP_ROTATING_BUFFER_SIZE");
  const int bytes = fixed.has_value() ? bytes_of(*fixed) : state().rotating_buffer_bytes;
  return THPUtils_packInt32(bytes < 0 ? l2_cache_bytes() : bytes);
  END_HANDLE_TH_ERRORS
}

PyObject* set_cublaslt_algorithms(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  state().cublaslt_algorithms = std::max(1, int_argument(argument, "cuda_tunableop_set_cublaslt_requested_algo_count"));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* get_cublaslt_algorithms(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  static const auto fixed = env_number("PYTORCH_TUNABLEOP_CUBLASLT_REQUESTED_ALGO_COUNT");
  return THPUtils_packInt32(std::max(1, fixed.value_or(state().cublaslt_algorithms)));
  END_HANDLE_TH_ERRORS
}

PyObject* wildcard_fallback_enable(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  state().wildcard_fallback = bool_argument(argument, "cuda_tunableop_wildcard_fallback_enable");
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* wildcard_fallback_is_enabled(PyObject* /*self*/, PyObject* /*none*/) {
  static const bool forced = env_is("PYTORCH_TUNABLEOP_WILDCARD_FALLBACK", "1");
  return PyBool_FromLong(forced || state().wildcard_fallback);
}

/// A handle for pop_dynamic_dims_mask(). The mask says which sizes tuning ignores, and nothing is tuned.
PyObject* push_dynamic_dims_mask(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  int_argument(argument, "cuda_tunableop_push_dynamic_dims_mask");
  return PyCapsule_New(&state(), kMaskHandle, nullptr);
  END_HANDLE_TH_ERRORS
}

PyObject* pop_dynamic_dims_mask(PyObject* /*self*/, PyObject* argument) {
  HANDLE_TH_ERRORS
  if (PyCapsule_GetPointer(argument, kMaskHandle) == nullptr) {
    throw python_error();
  }
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* clear_all(PyObject* /*self*/, PyObject* /*none*/) {
  state().results.clear();
  Py_RETURN_NONE;
}

PyObject* set_filename(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  PyObject* name = nullptr;
  PyObject* insert_ordinal = Py_False;
  if (!PyArg_ParseTuple(arguments, "O|O", &name, &insert_ordinal)) {
    throw python_error();
  }
  TORCH_CHECK(THPUtils_checkString(name), "cuda_tunableop_set_filename expects a string, but got ",
              THPUtils_typename(name));
  auto filename = THPUtils_unpackString(name);
  const bool insert = bool_argument(insert_ordinal, "cuda_tunableop_set_filename");
  state().filename = insert && !filename.empty() ? with_ordinal(std::move(filename)) : std::move(filename);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyObject* get_filename(PyObject* /*self*/, PyObject* /*none*/) { return THPUtils_packString(state().filename); }

PyObject* read_file(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  PyObject* name = nullptr;
  if (!PyArg_ParseTuple(arguments, "|O", &name)) {
    throw python_error();
  }
  TORCH_CHECK(!name || THPUtils_checkString(name), "cuda_tunableop_read_file expects a string, but got ",
              THPUtils_typename(name));
  const auto filename = name ? THPUtils_unpackString(name) : std::string();
  return PyBool_FromLong(read_results(filename.empty() ? state().filename : filename));
  END_HANDLE_TH_ERRORS
}

PyObject* get_results(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  py::list entries;
  for (const auto& [signatures, kernel] : results()) {
    entries.append(py::make_tuple(signatures.first, signatures.second, kernel.first, kernel.second));
  }
  return py::tuple(entries).release().ptr();
  END_HANDLE_TH_ERRORS
}

PyObject* get_validators(PyObject* /*self*/, PyObject* /*none*/) {
  HANDLE_TH_ERRORS
  return py::make_tuple(py::make_tuple("PT_VERSION", TORCH_VERSION)).release().ptr();
  END_HANDLE_TH_ERRORS
}

PyObject* set_numerical_check_tolerances(PyObject* /*self*/, PyObject* arguments) {
  HANDLE_TH_ERRORS
  PyObject* enabled = nullptr;
  double atol = 0;
  double rtol = 0;
  if (!PyArg_ParseTuple(arguments, "Odd", &enabled, &atol, &rtol)) {
    throw python_error();
  }
  bool_argument(enabled, "cuda_tunableop_set_numerical_check_tolerances");
  // Only checked: the tolerances compare candidates, of which there are none, and torch has no way to read them.
  TORCH_CHECK(atol > 0 && rtol > 0, "Numerical check tolerances must be positive");
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

PyMethodDef tunable_functions[] = {
    {"_cuda_tunableop_enable", enable_tunable, METH_O, nullptr},
    {"_cuda_tunableop_is_enabled", tunable_is_enabled, METH_NOARGS, nullptr},
    {"_cuda_tunableop_tuning_enable", tuning_enable, METH_O, nullptr},
    {"_cuda_tunableop_tuning_is_enabled", tuning_is_enabled, METH_NOARGS, nullptr},
    {"_cuda_record_untuned_enable", record_untuned_enable, METH_O, nullptr},
    {"_cuda_record_untuned_is_enabled", record_untuned_is_enabled, METH_NOARGS, nullptr},
    {"_cuda_tunableop_set_max_tuning_duration", set_max_tuning_duration, METH_O, nullptr},
    {"_cuda_tunableop_get_max_tuning_duration", get_max_tuning_duration, METH_NOARGS, nullptr},
    {"_cuda_tunableop_set_max_tuning_iterations", set_max_tuning_iterations, METH_O, nullptr},
    {"_cuda_tunableop_get_max_tuning_iterations", get_max_tuning_iterations, METH_NOARGS, nullptr},
    {"_cuda_tunableop_set_rotating_buffer_size", set_rotating_buffer_size, METH_O, nullptr},
    {"_cuda_tunableop_get_rotating_buffer_size", get_rotating_buffer_size, METH_NOARGS, nullptr},
    {"_cuda_tunableop_set_cublaslt_requested_algo_count", set_cublaslt_algorithms, METH_O, nullptr},
    {"_cuda_tunableop_get_cublaslt_requested_algo_count", get_cublaslt_algorithms, METH_NOARGS, nullptr},
    {"_cuda_tunableop_wildcard_fallback_enable", wildcard_fallback_enable, METH_O, nullptr},
    {"_cuda_tunableop_wildcard_fallback_is_enabled", wildcard_fallback_is_enabled, METH_NOARGS, nullptr},
    {"_cuda_tunableop_push_dynamic_dims_mask", push_dynamic_dims_mask, METH_O, nullptr},
    {"_cuda_tunableop_pop_dynamic_dims_mask", pop_dynamic_dims_mask, METH_O, nullptr},
    {"_cuda_tunableop_clear_all", clear_all, METH_NOARGS, nullptr},
    {"_cuda_tunableop_set_filename", set_filename, METH_VARARGS, nullptr},
    {"_cuda_tunableop_get_filename", get_filename, METH_NOARGS, nullptr},
    {"_cuda_tunableop_read_file", read_file, METH_VARARGS, nullptr},
    {"_cuda_tunableop_get_results", get_results, METH_NOARGS, nullptr},
    {"_cuda_tunableop_get_validators", get_validators, METH_NOARGS, nullptr},
    {"_cuda_tunableop_set_numerical_check_tolerances", set_numerical_check_tolerances, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_tunable(PyObject* torch_c) {
  if (PyModule_AddFunctions(torch_c, tunable_functions) < 0) {
    throw python_error();
  }
}

}  // namespace torchdevice
