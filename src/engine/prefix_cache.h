// Finds KV blocks whose content is already computed. A block of block_size tokens is named by a
// 128-bit key chained over its tokens, the key of the block before it and, at the root, the cache
// salt. A match also compares the tokens and the parent key, so that two prompts share a block only
// if they are equal, even should keys collide; the hash is seeded, so keys cannot be forged.
// Owned by the Engine above its BlockPool, engine thread only; nothing fails.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/block_pool.h"

namespace slipstream {

struct BlockKey {
  uint64_t hi = 0;
  uint64_t lo = 0;
  bool operator==(const BlockKey&) const = default;
};

class PrefixCache : public BlockPool::EvictionListener {
 public:
  // Registers itself as the pool's eviction listener. `pool` must outlive the cache.
  PrefixCache(BlockPool* pool, int block_size, uint64_t seed);
  ~PrefixCache() override;
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  BlockKey RootKey(std::string_view salt) const;
  // `tokens` is one full block.
  BlockKey ChildKey(const BlockKey& parent, std::span<const int32_t> tokens) const;

  // The block that holds `tokens` after `parent`, or kNoBlock. Takes no reference.
  int32_t Find(const BlockKey& key, const BlockKey& parent, std::span<const int32_t> tokens) const;

  // Publishes a fully computed block that somebody holds. If the content is known already, nothing
  // changes and the block stays private to its holder.
  void Insert(const BlockKey& key, const BlockKey& parent, std::span<const int32_t> tokens,
              int32_t block);

  // Forgets everything; blocks nobody holds become free.
  void Clear();

  size_t size() const { return map_.size(); }
  void OnEvict(int32_t block) override;

 private:
  struct KeyHash {
    size_t operator()(const BlockKey& key) const { return key.lo; }
  };
  struct Entry {
    BlockKey key;
    BlockKey parent;
  };

  BlockPool* pool_;
  const int block_size_;
  const uint64_t seed_;
  std::unordered_map<BlockKey, int32_t, KeyHash> map_;
  std::vector<Entry> entries_;   // by block id
  std::vector<int32_t> tokens_;  // [num_blocks, block_size]
};

}  // namespace slipstream
