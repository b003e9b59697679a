// forward/Result.h: how each C++ result type of an operator comes back from the native backend.

#pragma once

#include <tuple>
#include <vector>

#include "forward/Frame.h"

namespace torchdevice::forward {

/// Numbers, booleans and strings come back as they are.
template <class T>
void adopt_result(Frame&, T&) {}

inline void adopt_result(Frame& frame, at::Tensor& tensor) { frame.adopt(tensor); }

inline void adopt_result(Frame& frame, std::vector<at::Tensor>& tensors) {
  for (at::Tensor& tensor : tensors) {
    frame.adopt(tensor);
  }
}

template <class... T>
void adopt_result(Frame& frame, std::tuple<T...>& results) {
  std::apply([&](auto&... result) { (adopt_result(frame, result), ...); }, results);
}

}  // namespace torchdevice::forward
