#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <set>

namespace slipstream {
namespace {

using Tokens = std::vector<int32_t>;

class PrefixCacheTest : public ::testing::Test {
 protected:
  // Publishes one block under `parent`; returns its key.
  BlockKey Put(const BlockKey& parent, const Tokens& tokens, int32_t block) {
    const BlockKey key = cache_.ChildKey(parent, tokens);
    cache_.Insert(key, parent, tokens, block);
    return key;
  }
  int32_t Get(const BlockKey& parent, const Tokens& tokens) {
    return cache_.Find(cache_.ChildKey(parent, tokens), parent, tokens);
  }

  BlockPool pool_{4};
  PrefixCache cache_{&pool_, 4, 99};
  const BlockKey root_ = cache_.RootKey("");
};

TEST_F(PrefixCacheTest, FindsABlockByItsTokensAndItsWholePast) {
  const BlockKey first = Put(root_, {1, 2, 3, 4}, pool_.Allocate());
  Put(first, {5, 6, 7, 8}, pool_.Allocate());
  EXPECT_EQ(Get(root_, {1, 2, 3, 4}), 0);
  EXPECT_EQ(Get(first, {5, 6, 7, 8}), 1);
  EXPECT_EQ(Get(root_, {5, 6, 7, 8}), BlockPool::kNoBlock);
  EXPECT_EQ(Get(root_, {1, 2, 3, 5}), BlockPool::kNoBlock);
  EXPECT_EQ(Get(first, {1, 2, 3, 4}), BlockPool::kNoBlock);
}

TEST_F(PrefixCacheTest, SaltsSeparate) {
  const BlockKey salted = cache_.RootKey("tenant");
  Put(salted, {1, 2, 3, 4}, pool_.Allocate());
  EXPECT_EQ(Get(root_, {1, 2, 3, 4}), BlockPool::kNoBlock);
  EXPECT_EQ(Get(salted, {1, 2, 3, 4}), 0);
}

TEST_F(PrefixCacheTest, EqualKeysOfOtherTokensDoNotMatch) {
  const BlockKey key = Put(root_, {1, 2, 3, 4}, pool_.Allocate());
  const Tokens other{9, 9, 9, 9};
  EXPECT_EQ(cache_.Find(key, root_, other), BlockPool::kNoBlock);
  EXPECT_EQ(cache_.Find(key, cache_.RootKey("x"), Tokens{1, 2, 3, 4}), BlockPool::kNoBlock);
}

TEST_F(PrefixCacheTest, TheFirstOfTwoEqualBlocksIsKept) {
  Put(root_, {1, 2, 3, 4}, pool_.Allocate());
  Put(root_, {1, 2, 3, 4}, pool_.Allocate());
  EXPECT_EQ(Get(root_, {1, 2, 3, 4}), 0);
  EXPECT_FALSE(pool_.cached(1));
  pool_.Unref(1);
  EXPECT_EQ(pool_.num_free(), 3);
}

TEST_F(PrefixCacheTest, AnEvictedBlockIsNotFound) {
  Put(root_, {1, 2, 3, 4}, pool_.Allocate());
  pool_.Unref(0);
  EXPECT_EQ(pool_.num_reusable(), 1);
  EXPECT_EQ(Get(root_, {1, 2, 3, 4}), 0);
  for (int i = 0; i < 4; ++i) pool_.Allocate();
  EXPECT_EQ(Get(root_, {1, 2, 3, 4}), BlockPool::kNoBlock);
  EXPECT_EQ(cache_.size(), 0u);
}

TEST_F(PrefixCacheTest, ClearKeepsHeldBlocksAndFreesTheOthers) {
  const BlockKey first = Put(root_, {1, 2, 3, 4}, pool_.Allocate());
  Put(first, {5, 6, 7, 8}, pool_.Allocate());
  pool_.Unref(1);
  cache_.Clear();
  EXPECT_EQ(pool_.num_held(), 1);
  EXPECT_EQ(pool_.num_free(), 3);
  EXPECT_EQ(Get(root_, {1, 2, 3, 4}), BlockPool::kNoBlock);
  pool_.Unref(0);
  EXPECT_EQ(pool_.num_free(), 4);
}

TEST_F(PrefixCacheTest, KeysDependOnSeedAndSpread) {
  BlockPool pool(1);
  PrefixCache reseeded(&pool, 4, 100);
  EXPECT_FALSE(reseeded.RootKey("") == root_);
  std::set<uint64_t> hi, lo;
  for (int32_t i = 0; i < 20000; ++i) {
    const BlockKey key = cache_.ChildKey(root_, Tokens{i, 0, i % 7, 0});
    hi.insert(key.hi);
    lo.insert(key.lo);
  }
  EXPECT_EQ(hi.size(), 20000u);
  EXPECT_EQ(lo.size(), 20000u);
}

}  // namespace
}  // namespace slipstream
