#include "engine/block_pool.h"

#include "base/check.h"

namespace slipstream {

BlockPool::BlockPool(int32_t num_blocks) : nodes_(num_blocks) {
  free_.reserve(num_blocks);
  // Low ids are handed out first, so that a lightly loaded pool touches few pages.
  for (int32_t b = num_blocks - 1; b >= 0; --b) free_.push_back(b);
}

int32_t BlockPool::Allocate() {
  int32_t block;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else if (oldest_ != kNoBlock) {
    block = oldest_;
    RemoveReusable(block);
    nodes_[block].cached = false;
    if (listener_ != nullptr) listener_->OnEvict(block);
  } else {
    return kNoBlock;
  }
  nodes_[block].refs = 1;
  return block;
}

void BlockPool::Ref(int32_t block) {
  Node& node = nodes_[block];
  if (node.refs == 0) {
    SLIP_CHECK(node.cached, "block %d is free and cannot be referenced", block);
    RemoveReusable(block);
  }
  ++node.refs;
}

void BlockPool::Unref(int32_t block) {
  Node& node = nodes_[block];
  SLIP_CHECK(node.refs > 0, "block %d is released twice", block);
  if (--node.refs > 0) return;
  if (node.cached) {
    PushReusable(block);
  } else {
    free_.push_back(block);
  }
}

void BlockPool::SetCached(int32_t block, bool cached) {
  Node& node = nodes_[block];
  if (node.cached == cached) return;
  node.cached = cached;
  if (node.refs > 0) return;
  SLIP_CHECK(!cached, "block %d is free and has no content to cache", block);
  RemoveReusable(block);
  free_.push_back(block);
}

void BlockPool::PushReusable(int32_t block) {
  Node& node = nodes_[block];
  node.prev = newest_;
  node.next = kNoBlock;
  (newest_ == kNoBlock ? oldest_ : nodes_[newest_].next) = block;
  newest_ = block;
  ++num_reusable_;
}

void BlockPool::RemoveReusable(int32_t block) {
  Node& node = nodes_[block];
  (node.prev == kNoBlock ? oldest_ : nodes_[node.prev].next) = node.next;
  (node.next == kNoBlock ? newest_ : nodes_[node.next].prev) = node.prev;
  node.prev = node.next = kNoBlock;
  --num_reusable_;
}

}  // namespace slipstream
