# Imported target `torch_python_ext`: torch's headers and libraries, asked of the Python that builds us.
# torch's own TorchConfig.cmake is not used: on a CUDA build of torch it demands a CUDA toolkit that we do not need.

set(ENV{TORCH_DEVICE_BACKEND_AUTOLOAD} 0)
execute_process(
  COMMAND ${Python_EXECUTABLE} -c "import torch, os; print(os.path.dirname(torch.__file__)); print(torch.__version__)"
  OUTPUT_VARIABLE torch_answer
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" torch_answer "${torch_answer}")
list(GET torch_answer 0 TORCH_ROOT)
list(GET torch_answer 1 TORCH_VERSION)
message(STATUS "torch ${TORCH_VERSION} in ${TORCH_ROOT}")

add_library(torch_python_ext INTERFACE)
target_include_directories(torch_python_ext SYSTEM INTERFACE ${TORCH_ROOT}/include
                                                             ${TORCH_ROOT}/include/torch/csrc/api/include)
foreach(name torch_python torch_cpu torch c10 shm)
  find_library(TORCH_LIB_${name} ${name} PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
  target_link_libraries(torch_python_ext INTERFACE ${TORCH_LIB_${name}})
endforeach()
