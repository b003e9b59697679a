# What is particular to a wheel, which must load on machines that are older than the one that builds it.
# `system_stubs`: libraries that stand for the system's while an extension is linked, and are in no wheel.

add_library(system_stubs INTERFACE)
if(APPLE)
  target_link_libraries(system_stubs INTERFACE ${TORCH_ROOT}/../stubs/libc++.tbd ${TORCH_ROOT}/../stubs/libSystem.tbd)
else()
  # A function with more than one version is taken in the newest, which older releases lack. The stubs have the one of
  # all releases, and are found first.
  set(version_x86_64 GLIBC_2.2.5)
  set(version_aarch64 GLIBC_2.17)
  set(version ${version_${CMAKE_SYSTEM_PROCESSOR}})
  # Only this one is younger on x86-64 than the architecture.
  set(versions_dl_x86_64 "GLIBC_2.3.3 { global: dlinfo; };\n")
  foreach(library dl m pthread)
    add_library(stub_${library} SHARED ${CMAKE_SOURCE_DIR}/cmake/system_stubs/${library}.cpp)
    file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/system_stubs/${library}.map
         CONTENT "${versions_${library}_${CMAKE_SYSTEM_PROCESSOR}}${version} { global: *; };\n")
    target_compile_options(stub_${library} PRIVATE -fno-builtin -fvisibility=default)
    target_link_options(stub_${library} PRIVATE -nostdlib LINKER:--version-script=${CMAKE_BINARY_DIR}/system_stubs/${library}.map)
    target_link_libraries(system_stubs INTERFACE stub_${library})
    set_target_properties(stub_${library} PROPERTIES OUTPUT_NAME ${library}
                                                     LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/system_stubs)
  endforeach()
  set_target_properties(stub_dl PROPERTIES SOVERSION 2)
  set_target_properties(stub_m PROPERTIES SOVERSION 6)
  set_target_properties(stub_pthread PROPERTIES SOVERSION 0)
  # Of libstdc++ the engine needs too much for a stub.
  target_sources(system_stubs INTERFACE ${CMAKE_SOURCE_DIR}/cmake/system_stubs/condition.cpp
                                        ${CMAKE_SOURCE_DIR}/cmake/system_stubs/single_threaded.cpp)
  target_link_options(system_stubs INTERFACE LINKER:--strip-all
                                             LINKER:--wrap=_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE)
endif()
