# EXTENSIONS: the module _C for the Python that builds us or, for wheels, one for each Python of TORCHDEVICE_PYTHONS
# (cp311 …; wheels/build.py). Only the sources given here are compiled for each of them. Beside each lies a file that
# says for which torch it is, as torchdevice/engine.py wants it.

set(ENGINE_OUTPUT ${CMAKE_BINARY_DIR}/${ENGINE_FOLDER})

function(add_extensions)
  if(NOT TORCHDEVICE_PYTHONS)
    Python_add_library(_C MODULE WITH_SOABI ${ARGN})
    find_library(TORCH_LIB_torch_python torch_python PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
    target_link_libraries(_C PRIVATE ${TORCH_LIB_torch_python})
    set_target_properties(_C PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${ENGINE_OUTPUT})
    file(CONFIGURE OUTPUT ${ENGINE_OUTPUT}/_C.${Python_SOABI}.torch CONTENT "${TORCH_VERSION}\n")
    set(EXTENSIONS _C PARENT_SCOPE)
    return()
  endif()
  set(targets "")
  foreach(tag IN LISTS TORCHDEVICE_PYTHONS)
    set(target _C_${tag})
    string(REPLACE cp cpython- python ${tag})
    if(APPLE)
      set(soabi ${python}-darwin)
    else()
      set(soabi ${python}-${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
    endif()
    add_library(${target} MODULE ${ARGN})
    target_include_directories(${target} SYSTEM PRIVATE ${WHEELS_ROOT}/python/${tag}/include)
    target_link_libraries(${target} PRIVATE ${TORCH_ROOT}/../${tag}/libtorch_python${CMAKE_SHARED_LIBRARY_SUFFIX}
                                            system_stubs)
    if(APPLE)
      # Of undefined symbols only those that this Python's headers declare are left to be found when it loads.
      target_link_options(${target} PRIVATE @${WHEELS_ROOT}/python/${tag}/python_api.rsp)
    endif()
    set_target_properties(${target} PROPERTIES OUTPUT_NAME _C PREFIX "" SUFFIX .${soabi}.so
                                               LIBRARY_OUTPUT_DIRECTORY ${ENGINE_OUTPUT})
    file(CONFIGURE OUTPUT ${ENGINE_OUTPUT}/_C.${soabi}.torch CONTENT "${TORCH_VERSION}\n")
    list(APPEND targets ${target})
  endforeach()
  set(EXTENSIONS ${targets} PARENT_SCOPE)
endfunction()
