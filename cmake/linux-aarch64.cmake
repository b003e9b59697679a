# Toolchain: Linux on 64-bit ARM, from Debian's package g++-aarch64-linux-gnu. `python -m wheels` uses this.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
