// cmake/system_stubs/m.cpp: stands for libm while a wheel's extension is linked: what the engine needs of it, of which
// glibc 2.27 and 2.29 have new versions for some.

extern "C" {
double exp(double) { return 0; }
float expf(float) { return 0; }
double log(double) { return 0; }
float logf(float) { return 0; }
double log1p(double) { return 0; }
double sqrt(double) { return 0; }
float sqrtf(float) { return 0; }
double tan(double) { return 0; }
void sincos(double, double*, double*) {}
void sincosf(float, float*, float*) {}
}
