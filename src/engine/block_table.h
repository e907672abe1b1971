// The ordered KV blocks of one sequence (or of a prompt that siblings are about to share). Holds
// one reference per block and returns them in its destructor. Engine thread only; nothing fails.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/block_pool.h"

namespace slipstream {

class BlockTable {
 public:
  BlockTable() = default;
  explicit BlockTable(BlockPool* pool) : pool_(pool) {}
  ~BlockTable() { Clear(); }
  BlockTable(BlockTable&& other) noexcept
      : pool_(other.pool_), blocks_(std::exchange(other.blocks_, {})) {}
  BlockTable& operator=(BlockTable&& other) noexcept {
    if (this != &other) {
      Clear();
      pool_ = other.pool_;
      blocks_ = std::exchange(other.blocks_, {});
    }
    return *this;
  }

  // Takes a further reference to `block`.
  void Share(int32_t block) {
    pool_->Ref(block);
    blocks_.push_back(block);
  }

  // Appends a fresh block; false when the pool has none.
  [[nodiscard]] bool Grow() {
    const int32_t block = pool_->Allocate();
    if (block == BlockPool::kNoBlock) return false;
    blocks_.push_back(block);
    return true;
  }

  // Last block first, so that the pool evicts the tail of a cached prefix before its head.
  void Clear() {
    while (!blocks_.empty()) {
      pool_->Unref(blocks_.back());
      blocks_.pop_back();
    }
  }

  std::span<const int32_t> blocks() const { return blocks_; }
  int32_t size() const { return static_cast<int32_t>(blocks_.size()); }
  int32_t operator[](int32_t i) const { return blocks_[i]; }

 private:
  BlockPool* pool_ = nullptr;
  std::vector<int32_t> blocks_;
};

}  // namespace slipstream
