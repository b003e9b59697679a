// cmake/system_stubs/stdc++.cpp: stands for libstdc++ while a wheel's extension is linked; GCC 12 has a new version of
// this, which differs in being no cancellation point alone.

// std::condition_variable::wait(std::unique_lock<std::mutex>&)
extern "C" void _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE(void*, void*) {}
