// distributed/TensorPipe.cpp: torch.distributed.rpc with CUDA tensors and device maps: memory of CUDA devices goes over
// TensorPipe's channel for the CPU.

#include "distributed/TensorPipe.h"

#ifdef USE_TENSORPIPE

#include <c10/core/StreamGuard.h>
#include <tensorpipe/channel/basic/factory.h>
#include <tensorpipe/tensorpipe.h>
#include <torch/csrc/distributed/rpc/tensorpipe_agent.h>
#include <torch/csrc/distributed/rpc/tensorpipe_utils.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "native/Backend.h"
#include "runtime/Device.h"

// NOLINTBEGIN(readability-identifier-naming): TensorPipe's names
namespace tensorpipe::channel {

/// TensorPipe's own class, in the order of its virtual functions; torch ships its name alone.
class Channel {
 public:
  using Callback = std::function<void(const Error&)>;
  virtual void send(Buffer buffer, size_t length, Callback callback) = 0;
  virtual void recv(Buffer buffer, size_t length, Callback callback) = 0;
  virtual void setId(std::string id) = 0;
  virtual void close() = 0;
  virtual ~Channel() = default;
};

}  // namespace tensorpipe::channel
// NOLINTEND(readability-identifier-naming)

namespace torchdevice {
namespace {

namespace rpc = torch::distributed::rpc;
namespace channel = tensorpipe::channel;
using Streams = std::vector<c10::Stream>;

/// Memory of a CUDA device, where the host finds it.
struct CudaBuffer {
  void* host = nullptr;
  int device = 0;

  // NOLINTNEXTLINE(readability-identifier-naming): TensorPipe calls it
  tensorpipe::Device getDevice() const { return {tensorpipe::kCudaDeviceType, device}; }
};

tensorpipe::Buffer on_host(const tensorpipe::Buffer& buffer) {
  const bool is_cuda = buffer.device().type == tensorpipe::kCudaDeviceType;
  return is_cuda ? tensorpipe::CpuBuffer{buffer.unwrap<CudaBuffer>().host} : buffer;
}

class HostChannel final : public channel::Channel {
 public:
  explicit HostChannel(std::shared_ptr<channel::Channel> channel) : channel_(std::move(channel)) {}
  void send(tensorpipe::Buffer buffer, size_t length, Callback callback) override {
    channel_->send(on_host(buffer), length, std::move(callback));
  }
  void recv(tensorpipe::Buffer buffer, size_t length, Callback callback) override {
    channel_->recv(on_host(buffer), length, std::move(callback));
  }
  void setId(std::string id) override { channel_->setId(std::move(id)); }
  void close() override { channel_->close(); }

 private:
  std::shared_ptr<channel::Channel> channel_;
};

/// Every pair of devices, the CPU among them, as CUDA's own basic channel has it.
class HostChannels final : public channel::Context {
 public:
  HostChannels() {
    descriptors_.emplace(tensorpipe::Device(tensorpipe::kCpuDeviceType, 0), kDescriptor);
    for (int device = 0; device < device_count(); ++device) {
      descriptors_.emplace(tensorpipe::Device(tensorpipe::kCudaDeviceType, device), kDescriptor);
    }
  }
  bool isViable() const override { return context_->isViable(); }
  size_t numConnectionsNeeded() const override { return context_->numConnectionsNeeded(); }
  const std::unordered_map<tensorpipe::Device, std::string>& deviceDescriptors() const override { return descriptors_; }
  bool canCommunicateWithRemote(const std::string& local, const std::string& remote) const override {
    return local == remote;
  }
  std::shared_ptr<channel::Channel> createChannel(
      std::vector<std::shared_ptr<tensorpipe::transport::Connection>> connections,
      channel::Endpoint endpoint) override {
    return std::make_shared<HostChannel>(context_->createChannel(std::move(connections), endpoint));
  }
  void setId(std::string id) override { context_->setId(std::move(id)); }
  void close() override { context_->close(); }
  void join() override { context_->join(); }

 private:
  static constexpr const char* kDescriptor = "torchdevice";
  std::shared_ptr<channel::Context> context_ = channel::basic::create();
  std::unordered_map<tensorpipe::Device, std::string> descriptors_;
};

/// What is sent from a CUDA device, and where what arrives for one is put.
class Converter final : public rpc::TensorpipeDeviceTypeConverter {
 public:
  std::optional<std::vector<char>> prepareTensorForSending(const c10::Storage& storage, const Streams& /*streams*/,
                                                           tensorpipe::Message& message) const override {
    native_backend().settle();
    tensorpipe::Message::Tensor tensor;
    tensor.buffer = buffer(storage.mutable_data(), storage.device().index());
    tensor.length = storage.nbytes();
    message.tensors.push_back(std::move(tensor));
    return std::nullopt;
  }

  at::DataPtr allocateTensorForReceiving(c10::DeviceIndex device, size_t length, const Streams& streams,
                                         tensorpipe::Allocation& allocation) const override {
    const c10::StreamGuard guard(rpc::getStreamForDevice(streams, c10::Device(c10::kCUDA, device)));
    at::DataPtr memory = c10::GetAllocator(c10::kCUDA)->allocate(length);
    tensorpipe::Allocation::Tensor tensor;
    tensor.buffer = buffer(memory.get(), device);
    allocation.tensors.push_back(std::move(tensor));
    return memory;
  }

 private:
  static CudaBuffer buffer(void* memory, c10::DeviceIndex device) {
    return {memory == nullptr ? nullptr : native_backend().host_address(memory), device};
  }
};

std::unique_ptr<rpc::ChannelRegistration> make_channels() {
  return std::make_unique<rpc::ChannelRegistration>(
      rpc::ChannelRegistration{std::make_shared<HostChannels>(), rpc::kCudaBasicChannelPriority});
}

}  // namespace

void register_tensorpipe() {
  static const Converter converter;
  rpc::TensorpipeDeviceTypeConverterRegistrar(c10::kCUDA, &converter);
  // In place of a CUDA build's channel of this name, which needs a GPU.
  rpc::TensorPipeChannelRegistry()->Register("cuda_basic", make_channels, c10::REGISTRY_PREFERRED);
}

}  // namespace torchdevice

#else

// This torch was built without TensorPipe.
void torchdevice::register_tensorpipe() {}

#endif
