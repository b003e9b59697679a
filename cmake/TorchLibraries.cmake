# Imported target `torch_libraries`: torch's headers and libraries, asked of the Python that builds us unless the
# toolchain says TORCH_ROOT. libtorch_python, which belongs to one Python, is left to the extension (Extensions.cmake).
# torch's own TorchConfig.cmake is not used: on a CUDA build of torch it demands a CUDA toolkit that we do not need.

set(ENV{TORCH_DEVICE_BACKEND_AUTOLOAD} 0)
execute_process(
  COMMAND ${Python_EXECUTABLE} -c "import torch, os; print(os.path.dirname(torch.__file__)); print(torch.__version__)"
  OUTPUT_VARIABLE torch_answer
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" torch_answer "${torch_answer}")
if(NOT DEFINED TORCH_ROOT)
  list(GET torch_answer 0 TORCH_ROOT)
endif()
list(GET torch_answer 1 TORCH_VERSION)
message(STATUS "torch ${TORCH_VERSION} in ${TORCH_ROOT}")

add_library(torch_libraries INTERFACE)
target_include_directories(torch_libraries SYSTEM INTERFACE ${TORCH_ROOT}/include
                                                            ${TORCH_ROOT}/include/torch/csrc/api/include)
foreach(name torch_cpu torch c10 shm)
  find_library(TORCH_LIB_${name} ${name} PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
  target_link_libraries(torch_libraries INTERFACE ${TORCH_LIB_${name}})
endforeach()
