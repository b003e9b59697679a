// benchmarks/loops.cpp: one loop for each operator and device, so that callgrind can name what each costs.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/utils/pybind.h>

#include <chrono>
#include <thread>

namespace {

struct Inputs {
  Inputs(const char* device, bool grad) : options(at::TensorOptions().device(device)) {
    if (grad) {
      for (at::Tensor* leaf : {&ten, &other, &square, &bias, &image, &filter}) {
        leaf->requires_grad_();
      }
      written = ten.clone();  // autograd lets nobody write to a leaf
    }
  }
  at::TensorOptions options;
  at::Tensor ten = at::ones({10}, options);
  at::Tensor other = at::ones({10}, options);
  at::Tensor written = at::ones({10}, options);
  at::Tensor square = at::ones({16, 16}, options);
  at::Tensor bias = at::ones({16}, options);
  at::Tensor image = at::ones({1, 1, 8, 8}, options);
  at::Tensor filter = at::ones({1, 1, 3, 3}, options);
  at::Tensor index = at::arange(4, options.dtype(at::kLong));
};

constexpr int kRepeats = 200;

// The loop's name is what the report looks for, hence extern "C" and no inlining. The empty statements differ, so that
// no linker folds two loops into one.
#define LOOP(name, expression)                                                         \
  extern "C" __attribute__((noinline)) void loop_##name##_cpu(const Inputs& x) {       \
    for (int i = 0; i < kRepeats; ++i) expression;                                     \
    asm volatile("# cpu");                                                             \
  }                                                                                    \
  extern "C" __attribute__((noinline)) void loop_##name##_cuda(const Inputs& x) {      \
    for (int i = 0; i < kRepeats; ++i) expression;                                     \
    asm volatile("# cuda");                                                            \
  }                                                                                    \
  extern "C" __attribute__((noinline)) void loop_##name##_cpu_grad(const Inputs& x) {  \
    for (int i = 0; i < kRepeats; ++i) expression;                                     \
    asm volatile("# cpu, grad");                                                       \
  }                                                                                    \
  extern "C" __attribute__((noinline)) void loop_##name##_cuda_grad(const Inputs& x) { \
    for (int i = 0; i < kRepeats; ++i) expression;                                     \
    asm volatile("# cuda, grad");                                                      \
  }

#define LOOPS(X)                                                \
  X(add, at::add(x.ten, x.other))                               \
  X(mul_, x.written.mul_(x.other))                              \
  X(relu, at::relu(x.ten))                                      \
  X(sum, at::sum(x.ten))                                        \
  X(mm, at::mm(x.square, x.square))                             \
  X(addmm, at::addmm(x.bias, x.square, x.square))               \
  X(layer_norm, at::layer_norm(x.square, {16}, x.bias, x.bias)) \
  X(softmax, at::softmax(x.square, 1))                          \
  X(embedding, at::embedding(x.square, x.index))                \
  X(index_select, at::index_select(x.square, 0, x.index))       \
  X(copy_, x.written.copy_(x.ten))                              \
  X(cat, at::cat({x.ten, x.other, x.ten, x.other}))             \
  X(native_dropout, at::native_dropout(x.ten, 0.5, true))       \
  X(conv2d, at::conv2d(x.image, x.filter))                      \
  X(linear, at::linear(x.square, x.square, x.bias))             \
  X(index, x.square.index({x.index}))                           \
  X(view, x.square.view({4, 64}))                               \
  X(empty, at::empty({10}, x.options))

LOOPS(LOOP)

void run(const std::string& device, bool grad) {
  const at::AutoGradMode mode(grad);
  const Inputs inputs(device.c_str(), grad);
  const bool cpu = device == "cpu";
#define CALL(name, expression)                                              \
  if (grad) {                                                               \
    cpu ? loop_##name##_cpu_grad(inputs) : loop_##name##_cuda_grad(inputs); \
  } else {                                                                  \
    cpu ? loop_##name##_cpu(inputs) : loop_##name##_cuda(inputs);           \
  }
  LOOPS(CALL)
}

std::vector<std::string> names() {
#define NAME(name, expression) #name,
  return {LOOPS(NAME)};
}

// A Python function, before the redirect policy was asked for and after it was taken back.
#define ASK(when)                                                                    \
  extern "C" __attribute__((noinline)) void loop_asking_##when(PyObject* function) { \
    for (int i = 0; i < kRepeats; ++i) Py_XDECREF(PyObject_CallNoArgs(function));    \
    asm volatile("# " #when);                                                        \
  }
ASK(before)
ASK(after)

void ask(const py::function& function, bool after) {
  after ? loop_asking_after(function.ptr()) : loop_asking_before(function.ptr());
}

/// Seconds that `threads` threads need for `each` additions of ten numbers apiece.
double additions(const std::string& device, int threads, int each) {
  const py::gil_scoped_release no_gil;
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&] {
      const at::NoGradGuard no_grad;
      const Inputs x(device.c_str(), /*grad=*/false);
      for (int k = 0; k < each; ++k) {
        at::add(x.ten, x.other);
      }
    });
  }
  for (std::thread& thread : running) {
    thread.join();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("run", &run);
  m.def("names", &names);
  m.def("ask", &ask);
  m.def("additions", &additions);
  m.attr("repeats") = kRepeats;
}
