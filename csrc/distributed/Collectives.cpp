// distributed/Collectives.cpp: torch.distributed's operators on CUDA tensors, where a group does them with gloo. A CPU
// build of torch hands gloo the CUDA tensors as they are, and gloo would dereference what it does not know.

#include "distributed/Collectives.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <unordered_map>

#include "distributed/CudaWork.h"
#include "forward/Frame.h"
#include "forward/fallback/OnHost.h"
#include "native/Backend.h"

namespace torchdevice::distributed {
namespace {

template <class T>
bool holds(const c10::IValue& value) {
  return value.isCustomClass() && *value.type() == *c10::getCustomClassType<c10::intrusive_ptr<T>>();
}

template <class Visit>
c10::IValue map_tensors(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    return visit(value.toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> mapped;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      mapped.push_back(visit(tensor));
    }
    return mapped;
  }
  if (value.isList() && *value.toList().elementType() == *c10::ListType::ofTensors()) {
    c10::impl::GenericList mapped(c10::ListType::ofTensors());
    for (const c10::IValue& list : value.toList()) {
      mapped.push_back(map_tensors(list, visit));
    }
    return mapped;
  }
  return value;
}

/// torch's kernel for CUDA, except where the group's backend is gloo: there it is called with native tensors, and what
/// it returns becomes CUDA's again. What is written to a sparse tensor is new memory, which the CUDA tensor takes over
/// when the collective is done: for that the kernel waits.
class Collective final : public c10::OperatorKernel {
 public:
  Collective(c10::SafeKernelFunction torchs, bool is_sparse) : torchs_(std::move(torchs)), is_sparse_(is_sparse) {}

  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
    const size_t first = stack->size() - op.schema().arguments().size();
    if (!runs_over_gloo(c10::ArrayRef<c10::IValue>(*stack).slice(first))) {
      torchs_.callBoxed(op, keys, stack);
      return;
    }
    native_backend().synchronize();
    Sources sources;
    const forward::OnHost on_host;
    std::optional<forward::Frame> frame(std::in_place);
    const auto pass = [&](const at::Tensor& tensor) {
      const at::Tensor native = tensor.defined() ? frame->pass(tensor, /*written=*/true) : tensor;
      sources.emplace(native.unsafeGetTensorImpl(), tensor);
      return native;
    };
    const c10::IValue outputs = (*stack)[first];  // c10d's operators name first what they write
    for (size_t i = first; i < stack->size(); ++i) {
      (*stack)[i] = map_tensors((*stack)[i], pass);
    }
    TORCH_CHECK_VALUE(!frame->has_foreign_tensor(), op.operator_name(),
                      ": expected all tensors to be on the same CUDA device");
    if (!is_sparse_) {
      frame.reset();  // aliases that are kept come to own their memory, before gloo's threads see them
    }
    torchs_.callBoxed(op, keys, stack);
    for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
      c10::IValue& result = (*stack)[i];
      if (!holds<c10d::Work>(result)) {
        result = map_tensors(result, [&](const at::Tensor& native) { return source_of(native, sources); });
        continue;
      }
      const auto work = result.toCustomClass<c10d::Work>();
      // A single tensor (of barrier, or of the base collectives) is a list to the future.
      const c10::IValue value = outputs.isTensor() ? c10::IValue(Tensors{outputs.toTensor()}) : outputs;
      result = c10::intrusive_ptr<c10d::Work>(
          c10::make_intrusive<CudaWork>(CudaWork::Parts{work}, value, /*rank=*/-1, work->retrieveOpType(),
                                        /*sequence_number=*/0, Failures::kAsTheyAre));
      if (is_sparse_) {
        work->wait();
        map_tensors(outputs, [&](const at::Tensor& output) {
          frame->commit(output);
          return output;
        });
      }
    }
  }

 private:
  static bool runs_over_gloo(at::ArrayRef<c10::IValue> arguments) {
    for (const c10::IValue& argument : arguments) {
      if (holds<c10d::ProcessGroup>(argument)) {
        const auto group = argument.toCustomClass<c10d::ProcessGroup>();
        return group->getBackend(c10::DeviceType::CUDA)->getBackendName() == "gloo";
      }
    }
    return false;
  }

  using Sources = std::unordered_map<const c10::TensorImpl*, at::Tensor>;

  static at::Tensor source_of(const at::Tensor& native, const Sources& sources) {
    const auto source = sources.find(native.unsafeGetTensorImpl());
    return source == sources.end() ? native : source->second;
  }

  const c10::SafeKernelFunction torchs_;
  const bool is_sparse_;
};

}  // namespace

void register_collectives(forward::Registrar& registrar) {
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const c10::OperatorName& name : dispatcher.getAllOpNames()) {
    if (name.getNamespace() != "c10d") {
      continue;
    }
    const auto op = dispatcher.findSchemaOrThrow(name.name.c_str(), name.overload_name.c_str());
    for (const auto key : {c10::DispatchKey::CUDA, c10::DispatchKey::SparseCUDA}) {
      if (op.hasKernelForDispatchKey(key)) {
        registrar.add(name, key,
                      c10::KernelFunction::makeFromBoxedFunctor(std::make_unique<Collective>(
                          op.getComputedKernelForDispatchKey(key), key == c10::DispatchKey::SparseCUDA)));
      }
    }
  }
}

}  // namespace torchdevice::distributed
