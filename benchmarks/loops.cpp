// benchmarks/loops.cpp: one loop for each operator and device, so that callgrind can name what each costs.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/utils/pybind.h>

namespace {

struct Inputs {
  explicit Inputs(const char* device) : options(at::TensorOptions().device(device)) {}
  at::TensorOptions options;
  at::Tensor ten = at::ones({10}, options);
  at::Tensor other = at::ones({10}, options);
  at::Tensor square = at::ones({16, 16}, options);
  at::Tensor bias = at::ones({16}, options);
  at::Tensor index = at::arange(4, options.dtype(at::kLong));
  at::Tensor out = at::empty({10}, options);
};

constexpr int kRepeats = 200;

// The loop's name is what the report looks for, hence extern "C" and no inlining.
#define LOOP(name, expression)                                                    \
  extern "C" __attribute__((noinline)) void loop_##name##_cpu(const Inputs& x) {  \
    for (int i = 0; i < kRepeats; ++i) expression;                                \
  }                                                                               \
  extern "C" __attribute__((noinline)) void loop_##name##_cuda(const Inputs& x) { \
    for (int i = 0; i < kRepeats; ++i) expression;                                \
    asm volatile("");                                                             \
  }

#define LOOPS(X)                                                \
  X(add, at::add(x.ten, x.other))                               \
  X(mul_, x.ten.mul_(x.other))                                  \
  X(relu, at::relu(x.ten))                                      \
  X(sum, at::sum(x.ten))                                        \
  X(mm, at::mm(x.square, x.square))                             \
  X(linear, at::linear(x.square, x.square, x.bias))             \
  X(layer_norm, at::layer_norm(x.square, {16}, x.bias, x.bias)) \
  X(softmax, at::softmax(x.square, 1))                          \
  X(index_select, at::index_select(x.square, 0, x.index))       \
  X(index, x.square.index({x.index}))                           \
  X(copy_, x.out.copy_(x.ten))                                  \
  X(cat, at::cat({x.ten, x.other, x.ten, x.other}))             \
  X(empty, at::empty({10}, x.options))

LOOPS(LOOP)

void run(const std::string& device, bool grad) {
  const at::AutoGradMode mode(grad);
  Inputs inputs(device == "cpu" ? "cpu" : "cuda");
#define CALL(name, expression) device == "cpu" ? loop_##name##_cpu(inputs) : loop_##name##_cuda(inputs);
  LOOPS(CALL)
}

std::vector<std::string> names() {
#define NAME(name, expression) #name,
  return {LOOPS(NAME)};
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("run", &run);
  m.def("names", &names);
  m.attr("repeats") = kRepeats;
}
