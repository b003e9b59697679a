// cmake/system_stubs/condition.cpp: std::condition_variable::wait() in the version of all libstdc++s; GCC 12 has a new
// one, of the same type. The linker has the engine call the function below instead.

extern "C" {
void old_wait(void* condition, void* lock);
__asm__(".symver old_wait, _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");

__attribute__((visibility("hidden"))) void __wrap__ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE(
    void* condition, void* lock) {
  old_wait(condition, lock);
}
}
