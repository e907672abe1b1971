#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/rng.h"

namespace slipstream {
namespace {

// Odd multipliers of the two lanes: the golden ratio and pi, as 64-bit fractions.
constexpr uint64_t kLaneA = 0x9e3779b97f4a7c15ULL;
constexpr uint64_t kLaneB = 0x243f6a8885a308d3ULL;

// Absorbs one word into both lanes; each step is a bijection of (hi, lo) for a given word.
inline void Absorb(BlockKey* key, uint64_t word) {
  key->hi = (key->hi ^ word) * kLaneA;
  key->hi ^= key->hi >> 32;
  key->lo = (key->lo ^ (word + key->hi)) * kLaneB;
  key->lo ^= key->lo >> 29;
}

inline BlockKey Finish(const BlockKey& key) {
  return {MixBits(key.hi ^ (key.lo >> 1)), MixBits(key.lo + kLaneA)};
}

}  // namespace

PrefixCache::PrefixCache(BlockPool* pool, int block_size, uint64_t seed)
    : pool_(pool),
      block_size_(block_size),
      seed_(seed),
      entries_(pool->num_blocks()),
      tokens_(static_cast<size_t>(pool->num_blocks()) * block_size) {
  pool_->set_listener(this);
}

PrefixCache::~PrefixCache() { pool_->set_listener(nullptr); }

BlockKey PrefixCache::RootKey(std::string_view salt) const {
  BlockKey key{seed_, ~seed_};
  for (const char c : salt) Absorb(&key, static_cast<unsigned char>(c));
  Absorb(&key, salt.size());
  return Finish(key);
}

BlockKey PrefixCache::ChildKey(const BlockKey& parent, std::span<const int32_t> tokens) const {
  BlockKey key{parent.hi ^ seed_, parent.lo};
  size_t i = 0;
  for (; i + 2 <= tokens.size(); i += 2) {
    Absorb(&key, static_cast<uint64_t>(static_cast<uint32_t>(tokens[i])) << 32 |
                     static_cast<uint32_t>(tokens[i + 1]));
  }
  if (i < tokens.size()) Absorb(&key, static_cast<uint32_t>(tokens[i]));
  return Finish(key);
}

int32_t PrefixCache::Find(const BlockKey& key, const BlockKey& parent,
                          std::span<const int32_t> tokens) const {
  const auto it = map_.find(key);
  if (it == map_.end()) return BlockPool::kNoBlock;
  const int32_t block = it->second;
  const int32_t* known = &tokens_[static_cast<size_t>(block) * block_size_];
  if (entries_[block].parent != parent || !std::equal(tokens.begin(), tokens.end(), known)) {
    return BlockPool::kNoBlock;
  }
  return block;
}

void PrefixCache::Insert(const BlockKey& key, const BlockKey& parent,
                         std::span<const int32_t> tokens, int32_t block) {
  if (pool_->cached(block) || !map_.try_emplace(key, block).second) return;
  entries_[block] = {key, parent};
  std::copy(tokens.begin(), tokens.end(), &tokens_[static_cast<size_t>(block) * block_size_]);
  pool_->SetCached(block, true);
}

void PrefixCache::Clear() {
  for (const auto& [key, block] : map_) pool_->SetCached(block, false);
  map_.clear();
}

void PrefixCache::OnEvict(int32_t block) { map_.erase(entries_[block].key); }

}  // namespace slipstream
