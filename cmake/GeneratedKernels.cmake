# GENERATED_KERNELS: the typed kernels, written at build time from torch's native_functions.yaml.
# torchgen, which reads it, is the one beside that torch: copied, as pip hides what is installed from an isolated build.
# Sharded so that two cores stay busy and a shard compiles in well under a minute.

set(KERNEL_SHARDS 8)
set(KERNEL_DIR ${CMAKE_CURRENT_BINARY_DIR}/kernels)
set(GENERATED_KERNELS ${KERNEL_DIR}/kernels.cpp ${KERNEL_DIR}/kernels_half.cpp)
math(EXPR last_shard "${KERNEL_SHARDS} - 1")
foreach(shard RANGE ${last_shard})
  list(APPEND GENERATED_KERNELS ${KERNEL_DIR}/kernels_${shard}.cpp)
endforeach()

set(TORCHGEN_DIR ${CMAKE_BINARY_DIR}/torchgen)
file(COPY ${TORCH_ROOT}/../torchgen DESTINATION ${TORCHGEN_DIR} PATTERN __pycache__ EXCLUDE)
add_custom_command(
  OUTPUT ${KERNEL_DIR}/stamp
  BYPRODUCTS ${GENERATED_KERNELS}
  COMMAND ${CMAKE_COMMAND} -E env PYTHONPATH=${TORCHGEN_DIR}:$ENV{PYTHONPATH}
          ${Python_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/codegen/kernels.py ${KERNEL_DIR} ${KERNEL_SHARDS}
          ${TORCH_VERSION}
  COMMAND ${CMAKE_COMMAND} -E touch ${KERNEL_DIR}/stamp
  DEPENDS codegen/kernels.py codegen/names.py codegen/operators.py codegen/rules.py
  COMMENT "Generating typed kernels"
  VERBATIM)
add_custom_target(generate_kernels DEPENDS ${KERNEL_DIR}/stamp)
