// Memory that grows to what the largest op needs and is kept. Used by one thread.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace slipstream {

class Workspace {
 public:
  // At least `bytes`, 64-byte aligned, old content dropped on growth; null if there is no memory.
  void* Reserve(size_t bytes) {
    if (bytes <= bytes_) return data_.get();
    bytes = (bytes + bytes / 4 + 63) / 64 * 64;
    data_.reset();
    data_.reset(std::aligned_alloc(64, bytes));
    bytes_ = data_ == nullptr ? 0 : bytes;
    return data_.get();
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> data_;
  size_t bytes_ = 0;
};

}  // namespace slipstream
