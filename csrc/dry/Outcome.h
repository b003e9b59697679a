// dry/Outcome.h: what a call of an operator does to shapes, as its Meta kernel said it, to be done to CUDA tensors.

#pragma once

#include <ATen/core/stack.h>

#include <vector>

#include "dry/Call.h"

namespace torchdevice::dry {

/// Results, and arguments that have changed their sizes; known once, done to every call of the same key.
class Outcome {
 public:
  Outcome() = default;
  /// `results` are the Meta kernel's. `metas` are the tensors that it worked on, as it left them.
  Outcome(const Call& call, const std::vector<at::Tensor>& metas, c10::ArrayRef<c10::IValue> results);

  /// Allocates what is fresh, on the call's device, and resizes what was written.
  torch::jit::Stack apply(const Call& call) const;

 private:
  struct Shape {
    std::vector<int64_t> sizes;
    std::vector<int64_t> strides;
    int64_t offset = 0;
    at::ScalarType dtype = at::kFloat;
  };
  struct Result {
    enum class Kind { kFresh, kArgument, kView, kValue, kTensorList };
    Kind kind = Kind::kValue;
    int position = -1;
    Shape shape;
    c10::IValue value;
    std::vector<Result> elements;
  };
  struct Resized {
    int position;
    Shape shape;
  };

  static Shape shape_of(const at::Tensor& tensor);
  static Result result_of(const at::Tensor& tensor, const std::vector<at::Tensor>& metas);
  static Result result_of(const c10::IValue& value, const std::vector<at::Tensor>& metas);
  static at::Tensor tensor_of(const Result& result, const Call& call);

  std::vector<Result> results_;
  std::vector<Resized> resized_;
};

}  // namespace torchdevice::dry
