# Imported target `torch_libraries`: torch's headers and libraries in TORCH_ROOT, by default those of the Python that
# builds us. libtorch_python, which belongs to one Python, is left to the extension (Extensions.cmake).
# TORCH_VERSION: the exact one, as 2.13.0+cpu. ENGINE_FOLDER: of what is built for it, below torchdevice/ and in the
# build folder (torchdevice/engine.py).
# torch's own TorchConfig.cmake is not used: on a CUDA build of torch it demands a CUDA toolkit that we do not need.

if(NOT DEFINED TORCH_ROOT)
  # Found, not imported, which would take seconds.
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
            "from importlib.util import find_spec; print(*find_spec('torch').submodule_search_locations)"
    OUTPUT_VARIABLE TORCH_ROOT
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()

# Headers know the release only, and a nightly is none.
file(READ ${TORCH_ROOT}/version.py version_text)
if(NOT version_text MATCHES "__version__ = ['\"](([0-9]+)\\.([0-9]+)[^'\"]*)['\"]")
  message(FATAL_ERROR "torchdevice: ${TORCH_ROOT}/version.py does not say which torch it is of")
endif()
set(TORCH_VERSION ${CMAKE_MATCH_1})
set(ENGINE_FOLDER engines/torch${CMAKE_MATCH_2}_${CMAKE_MATCH_3})
message(STATUS "torch ${TORCH_VERSION} in ${TORCH_ROOT}")

add_library(torch_libraries INTERFACE)
target_include_directories(torch_libraries SYSTEM INTERFACE ${TORCH_ROOT}/include
                                                            ${TORCH_ROOT}/include/torch/csrc/api/include)
foreach(name torch_cpu torch c10 shm)
  find_library(TORCH_LIB_${name} ${name} PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
  target_link_libraries(torch_libraries INTERFACE ${TORCH_LIB_${name}})
endforeach()
