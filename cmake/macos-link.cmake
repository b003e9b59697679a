# How lld makes a Python extension for macOS: read by CMake after its own rules for Darwin, which it replaces.
# An undefined symbol is an error, also in code that is never reached (so no -dead_strip, which would hide it), and lld
# signs ad hoc. The SDK's number stays low: for newer ones dyld demands flags that lld 15 does not set.

set(CMAKE_CXX_CREATE_SHARED_MODULE
    "${WHEELS_ROOT}/tools/ld64.lld -arch arm64 -platform_version macos 14.0 14.0 -demangle -bundle -x <LINK_FLAGS> <OBJECTS> <LINK_LIBRARIES> -o <TARGET>")
set(CMAKE_SHARED_MODULE_CREATE_CXX_FLAGS "")
set(CMAKE_SHARED_MODULE_RUNTIME_CXX_FLAG "-rpath ")
set(CMAKE_SHARED_LIBRARY_RUNTIME_CXX_FLAG "-rpath ")
