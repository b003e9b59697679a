// forward/Result.h: how each C++ result type of an operator comes back from the native backend.

#pragma once

#include <tuple>
#include <vector>

#include "forward/Frame.h"

namespace torchdevice::forward {

/// Numbers, booleans and strings come back as they are.
template <class T>
T adopt_result(Frame&, T&& value) {
  return std::forward<T>(value);
}

inline at::Tensor adopt_result(Frame& frame, at::Tensor&& tensor) { return frame.adopt(std::move(tensor)); }

inline std::vector<at::Tensor> adopt_result(Frame& frame, std::vector<at::Tensor>&& tensors) {
  for (at::Tensor& tensor : tensors) {
    tensor = frame.adopt(std::move(tensor));
  }
  return std::move(tensors);
}

template <class... T>
std::tuple<T...> adopt_result(Frame& frame, std::tuple<T...>&& results) {
  return std::apply([&](auto&&... result) { return std::tuple<T...>(adopt_result(frame, std::move(result))...); },
                    std::move(results));
}

}  // namespace torchdevice::forward
