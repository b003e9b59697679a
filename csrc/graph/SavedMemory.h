// graph/SavedMemory.h: what device memory held before a capture wrote to it.

#pragma once

#include <c10/core/Storage.h>

#include <cstddef>
#include <unordered_map>
#include <vector>

namespace torchdevice::graph {

/// The copies lie in segments of the native backend, outside of all memory statistics.
class SavedMemory {
 public:
  SavedMemory() = default;
  ~SavedMemory() { clear(); }
  SavedMemory(const SavedMemory&) = delete;
  SavedMemory& operator=(const SavedMemory&) = delete;

  /// Copies what the storage holds, the first time it is called for that memory, and keeps the storage alive. Throws
  /// OutOfMemoryError.
  void save(const c10::Storage& storage);

  /// Writes everything back.
  void restore();
  /// Forgets everything.
  void clear();

 private:
  struct Copy {
    c10::Storage storage;
    void* bytes;
    size_t nbytes;
  };
  struct Chunk {
    char* start;
    size_t size;
    size_t used;
  };

  void* take(size_t nbytes);

  std::unordered_map<void*, Copy> copies_;
  std::vector<Chunk> chunks_;
};

}  // namespace torchdevice::graph
