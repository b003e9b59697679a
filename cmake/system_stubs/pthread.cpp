// cmake/system_stubs/pthread.cpp: stands for libpthread while a wheel's extension is linked; glibc 2.34 moved this to
// libc.

extern "C" int pthread_once(int*, void (*)()) { return 0; }
