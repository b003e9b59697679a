// cmake/system_stubs/single_threaded.cpp: what glibc has since 2.32, and libstdc++'s headers ask for: "no, there are
// threads".

extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
}
