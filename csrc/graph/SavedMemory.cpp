// graph/SavedMemory.cpp: what device memory held before a capture wrote to it.

#include "graph/SavedMemory.h"

#include <c10/util/Exception.h>

#include <algorithm>

#include "allocator/Block.h"
#include "native/Backend.h"

namespace torchdevice::graph {

void SavedMemory::save(const c10::Storage& storage) {
  void* memory = storage.mutable_data();
  const size_t nbytes = storage.nbytes();
  if (nbytes == 0 || copies_.contains(memory)) {
    return;
  }
  void* bytes = take(nbytes);
  native_backend().copy(bytes, memory, nbytes);
  copies_.emplace(memory, Copy{storage, bytes, nbytes});
}

void SavedMemory::restore() {
  for (const auto& [memory, copy] : copies_) {
    // An operator may have given the storage other memory.
    if (copy.storage.data() == memory) {
      native_backend().copy(memory, copy.bytes, std::min(copy.nbytes, copy.storage.nbytes()));
    }
  }
  native_backend().synchronize();
}

void* SavedMemory::take(size_t nbytes) {
  const size_t size = (nbytes + kMinBlockSize - 1) / kMinBlockSize * kMinBlockSize;
  if (chunks_.empty() || chunks_.back().size - chunks_.back().used < size) {
    const size_t chunk =
        std::max(kLargeSegment, (size + kSegmentAlignment - 1) / kSegmentAlignment * kSegmentAlignment);
    auto* start = static_cast<char*>(native_backend().allocate_segment(chunk));
    TORCH_CHECK_WITH(OutOfMemoryError, start != nullptr, "CUDA out of memory. A CUDA graph capture needs ", chunk,
                     " bytes to keep what the captured work overwrites.");
    chunks_.push_back({start, chunk, 0});
  }
  Chunk& chunk = chunks_.back();
  void* bytes = chunk.start + chunk.used;
  chunk.used += size;
  return bytes;
}

void SavedMemory::clear() {
  copies_.clear();
  for (const Chunk& chunk : chunks_) {
    native_backend().free_segment(chunk.start, chunk.size);
  }
  chunks_.clear();
}

}  // namespace torchdevice::graph
