# Toolchain: macOS on Apple silicon, from Linux. zig compiles (clang, libc++ and the C headers of macOS in one pip
# package), lld links against torch's own dylibs and stubs made from them: no file of Apple's is needed.
# `python -m wheels` lays out WHEELS_ROOT and uses this; see docs/release.md.

set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
# Try-outs read this file too, and know nothing else.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES WHEELS_ROOT)

set(CMAKE_CXX_COMPILER ${WHEELS_ROOT}/tools/zig/ziglang/zig c++)
# That of torch's wheel.
set(CMAKE_CXX_COMPILER_TARGET aarch64-macos.14.0)
# No try-outs that link: zig would build a libc++ of its own for them, which takes minutes and proves nothing.
set(CMAKE_CXX_COMPILER_FORCED TRUE)

set(flags
    # zig takes its own libc++ for the one in use; we use macOS's, whose release decides what is in it. Without this,
    # symbols of newer ones are used, and the extension does not load.
    -U_LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS -D_LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS=1
    -U_LIBCPP_DISABLE_VISIBILITY_ANNOTATIONS -U_LIBCXXABI_DISABLE_VISIBILITY_ANNOTATIONS
    # No operator delete(void*, size_t): torch's dylibs do without, so it is not in the stubs.
    -fno-sized-deallocation
    # What zig switches on by itself.
    -fno-sanitize=undefined -g0
    # The pyconfig.h of Linux asks for POSIX alone.
    -D_DARWIN_C_SOURCE=1)
list(JOIN flags " " CMAKE_CXX_FLAGS_INIT)

set(CMAKE_USER_MAKE_RULES_OVERRIDE_CXX ${CMAKE_CURRENT_LIST_DIR}/macos-link.cmake)
