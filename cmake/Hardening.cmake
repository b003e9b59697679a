# What every build is compiled and linked with so that it is the same wherever it is built, and harder to misuse.

# torch's checks name the file that they are in: below the folders that it was built from. The last that fits counts.
add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}/= -ffile-prefix-map=${CMAKE_BINARY_DIR}/=
                    -ffile-prefix-map=${TORCH_ROOT}/=torch/)
# A run path that an install has to change leaves room for the one of the build folder.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)

# Not on macOS: its linker has no such options, and clang there protects the stack by itself.
if(NOT APPLE AND NOT TORCHDEVICE_SANITIZE)
  # Python loads extensions so anyway. What was bound is read-only from then on.
  add_link_options(LINKER:-z,relro LINKER:-z,now)
  # Some distributions' compilers have a value of their own. Without optimisation there is nothing to fortify.
  add_compile_options($<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE>
                      $<$<CONFIG:Release,RelWithDebInfo>:-D_FORTIFY_SOURCE=2>)
  # Functions with texts on the stack. -strong would add instructions to every forwarded call: its frames are objects
  # whose addresses are taken; and so would smaller arrays, as sizes and strides of tensors are kept in 40 bytes.
  add_compile_options(-fstack-protector --param=ssp-buffer-size=64)
endif()
