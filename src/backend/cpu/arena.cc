#include "backend/cpu/arena.h"

#include <sys/mman.h>

#include <algorithm>

namespace slipstream {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// Untouched pages of a chunk cost address space only.
constexpr size_t kChunkBytes = size_t{64} << 20;

}  // namespace

Arena::~Arena() {
  for (const Chunk& c : chunks_) munmap(c.base, c.bytes);
}

uint8_t* Arena::Allocate(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  bytes = (bytes + 63) / 64 * 64;
  if (bytes > left_) {
    const size_t usable = std::max(kChunkBytes, (bytes + kHugePage - 1) / kHugePage * kHugePage);
    const size_t mapped = usable + kHugePage;  // room to align
    void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return nullptr;
    chunks_.push_back({base, mapped});
    const uintptr_t at =
        (reinterpret_cast<uintptr_t>(base) + kHugePage - 1) / kHugePage * kHugePage;
    if (huge_pages_) madvise(reinterpret_cast<void*>(at), usable, MADV_HUGEPAGE);
    next_ = reinterpret_cast<uint8_t*>(at);
    left_ = usable;
  }
  uint8_t* const out = next_;
  next_ += bytes;
  left_ -= bytes;
  return out;
}

}  // namespace slipstream
