// Reference-counted KV block ids. A block is held (some table refers to it), reusable (nobody does,
// but the prefix cache still knows its content; evicted oldest first) or free. Knows no memory
// addresses. Owned by the Engine, engine thread only. Allocate fails by returning kNoBlock.
// Source: Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with
// PagedAttention", section 4.
#pragma once

#include <cstdint>
#include <vector>

namespace slipstream {

class BlockPool {
 public:
  static constexpr int32_t kNoBlock = -1;

  // Told when the content of a cached block is about to be lost.
  class EvictionListener {
   public:
    virtual ~EvictionListener() = default;
    virtual void OnEvict(int32_t block) = 0;
  };

  explicit BlockPool(int32_t num_blocks);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  void set_listener(EvictionListener* listener) { listener_ = listener; }

  // A block with one reference: a free one, else the reusable one released longest ago.
  int32_t Allocate();
  void Ref(int32_t block);
  // The last reference makes the block reusable when cached, else free.
  void Unref(int32_t block);

  // Marks that the prefix cache knows (or no longer knows) the content of `block`.
  void SetCached(int32_t block, bool cached);

  int32_t num_blocks() const { return static_cast<int32_t>(nodes_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_reusable() const { return num_reusable_; }
  int32_t num_held() const { return num_blocks() - num_free() - num_reusable(); }
  int32_t num_available() const { return num_free() + num_reusable(); }
  int32_t ref_count(int32_t block) const { return nodes_[block].refs; }
  bool cached(int32_t block) const { return nodes_[block].cached; }

 private:
  struct Node {
    int32_t refs = 0;
    int32_t prev = kNoBlock;  // neighbours in the list of reusable blocks, oldest first
    int32_t next = kNoBlock;
    bool cached = false;
  };

  void PushReusable(int32_t block);
  void RemoveReusable(int32_t block);

  std::vector<Node> nodes_;
  std::vector<int32_t> free_;
  int32_t oldest_ = kNoBlock;
  int32_t newest_ = kNoBlock;
  int32_t num_reusable_ = 0;
  EvictionListener* listener_ = nullptr;
};

}  // namespace slipstream
