# Imported target `torch_libraries`: torch's headers and libraries, asked of the Python that builds us unless the
# toolchain says TORCH_ROOT. libtorch_python, which belongs to one Python, is left to the extension (Extensions.cmake).
# BUILT_FOR: the file that tells torchdevice/activation.py, before the extension is loaded, which torch that needs.
# torch's own TorchConfig.cmake is not used: on a CUDA build of torch it demands a CUDA toolkit that we do not need.

if(NOT DEFINED TORCH_ROOT)
  set(ENV{TORCH_DEVICE_BACKEND_AUTOLOAD} 0)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c "import torch, os; print(os.path.dirname(torch.__file__))"
    OUTPUT_VARIABLE TORCH_ROOT
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()

# The version of the headers, which is what counts: the torch of the Python that builds may be another system's.
set(version_header ${TORCH_ROOT}/include/torch/headeronly/version.h)
file(READ ${version_header} version_text)
if(NOT version_text MATCHES "\"(([0-9]+\\.[0-9]+)\\.[^\"]*)\"")
  message(FATAL_ERROR "torchdevice: ${version_header} does not say which torch it is of")
endif()
set(TORCH_VERSION ${CMAKE_MATCH_1})
set(TORCH_MINOR ${CMAKE_MATCH_2})
message(STATUS "torch ${TORCH_VERSION} in ${TORCH_ROOT}")
set(BUILT_FOR ${CMAKE_CURRENT_BINARY_DIR}/_built_for.py)
file(CONFIGURE OUTPUT ${BUILT_FOR} @ONLY CONTENT [=[
"""The torch whose C++ interface the extension was compiled against. Written by the build."""

TORCH_VERSION = "@TORCH_VERSION@"
TORCH_MINOR = "@TORCH_MINOR@"
]=])

add_library(torch_libraries INTERFACE)
target_include_directories(torch_libraries SYSTEM INTERFACE ${TORCH_ROOT}/include
                                                            ${TORCH_ROOT}/include/torch/csrc/api/include)
foreach(name torch_cpu torch c10 shm)
  find_library(TORCH_LIB_${name} ${name} PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
  target_link_libraries(torch_libraries INTERFACE ${TORCH_LIB_${name}})
endforeach()
