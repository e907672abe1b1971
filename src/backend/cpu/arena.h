// Anonymous memory in large chunks, asked for as huge pages: weights are read from end to end at
// every token, and 4 KiB pages would cost a TLB miss each. Weights share chunks, because a tensor
// of its own would waste up to a huge page. Shared by the weights made from it (shared_ptr); freed
// with the last one. Used by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace slipstream {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeroed memory aligned to 64 bytes, or null if the system has none left.
  uint8_t* Allocate(size_t bytes);

 private:
  struct Chunk {
    void* base;
    size_t bytes;
  };
  std::vector<Chunk> chunks_;
  uint8_t* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace slipstream
