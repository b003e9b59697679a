// cmake/system_stubs/dl.cpp: stands for libdl while a wheel's extension is linked; glibc 2.34 moved these to libc.

extern "C" {
void* dlopen(const char*, int) { return nullptr; }
int dlclose(void*) { return 0; }
int dlinfo(void*, int, void*) { return 0; }
}
