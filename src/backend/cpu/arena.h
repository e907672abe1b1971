// Anonymous memory in large chunks. For weights it asks for huge pages: they are read from end to
// end at every token, and 4 KiB pages would cost a TLB miss each. They share chunks, because a
// tensor of its own would waste up to a huge page. A KV cache must not ask: its blocks in use are
// spread over 2 * layers regions, and each would hold a whole huge page. Shared by what is made
// from it (shared_ptr); freed with the last one. Used by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace slipstream {

class Arena {
 public:
  explicit Arena(bool huge_pages) : huge_pages_(huge_pages) {}
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
  const bool huge_pages_;
  std::vector<Chunk> chunks_;
  uint8_t* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace slipstream
