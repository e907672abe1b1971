#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include "engine/block_table.h"

namespace slipstream {
namespace {

class EvictionLog : public BlockPool::EvictionListener {
 public:
  void OnEvict(int32_t block) override { evicted.push_back(block); }
  std::vector<int32_t> evicted;
};

void ExpectCounts(const BlockPool& pool, int held, int reusable, int free) {
  EXPECT_EQ(pool.num_held(), held);
  EXPECT_EQ(pool.num_reusable(), reusable);
  EXPECT_EQ(pool.num_free(), free);
}

TEST(BlockPool, HandsOutEachBlockOnce) {
  BlockPool pool(3);
  EXPECT_EQ(pool.Allocate(), 0);
  EXPECT_EQ(pool.Allocate(), 1);
  EXPECT_EQ(pool.Allocate(), 2);
  EXPECT_EQ(pool.Allocate(), BlockPool::kNoBlock);
  ExpectCounts(pool, 3, 0, 0);
  pool.Unref(1);
  EXPECT_EQ(pool.Allocate(), 1);
}

TEST(BlockPool, AFreshBlockIsFreeOnlyAfterTheLastReference) {
  BlockPool pool(2);
  const int32_t b = pool.Allocate();
  pool.Ref(b);
  pool.Unref(b);
  ExpectCounts(pool, 1, 0, 1);
  pool.Unref(b);
  ExpectCounts(pool, 0, 0, 2);
}

TEST(BlockPool, EvictsTheCachedBlockReleasedLongestAgo) {
  BlockPool pool(3);
  EvictionLog log;
  pool.set_listener(&log);
  for (int i = 0; i < 3; ++i) pool.SetCached(pool.Allocate(), true);
  pool.Unref(1);
  pool.Unref(0);
  pool.Unref(2);
  ExpectCounts(pool, 0, 3, 0);
  pool.Ref(1);  // used again, and released as the newest
  pool.Unref(1);
  EXPECT_EQ(pool.Allocate(), 0);
  EXPECT_EQ(pool.Allocate(), 2);
  EXPECT_EQ(pool.Allocate(), 1);
  EXPECT_EQ(log.evicted, (std::vector<int32_t>{0, 2, 1}));
  EXPECT_FALSE(pool.cached(0));
}

TEST(BlockPool, PrefersFreeBlocksToReusableOnes) {
  BlockPool pool(2);
  pool.SetCached(pool.Allocate(), true);
  pool.Unref(0);
  EXPECT_EQ(pool.Allocate(), 1);
  ExpectCounts(pool, 1, 1, 0);
}

TEST(BlockPool, ForgottenContentMakesAReusableBlockFree) {
  BlockPool pool(3);
  for (int i = 0; i < 3; ++i) pool.SetCached(pool.Allocate(), true);
  for (int i = 0; i < 3; ++i) pool.Unref(i);
  pool.SetCached(1, false);
  ExpectCounts(pool, 0, 2, 1);
  EXPECT_EQ(pool.Allocate(), 1);
  EXPECT_EQ(pool.Allocate(), 0);
  EXPECT_EQ(pool.Allocate(), 2);
}

TEST(BlockTable, ReturnsItsBlocksTailFirst) {
  BlockPool pool(3);
  {
    BlockTable table(&pool);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(table.Grow());
    EXPECT_FALSE(table.Grow());
    for (int i = 0; i < 3; ++i) pool.SetCached(i, true);
    EXPECT_EQ(table.size(), 3);
  }
  ExpectCounts(pool, 0, 3, 0);
  // The head of the prefix is the last to be evicted.
  EXPECT_EQ(pool.Allocate(), 2);
  EXPECT_EQ(pool.Allocate(), 1);
  EXPECT_EQ(pool.Allocate(), 0);
}

TEST(BlockTable, MovesAndShares) {
  BlockPool pool(2);
  BlockTable a(&pool);
  ASSERT_TRUE(a.Grow());
  BlockTable b(&pool);
  b.Share(a[0]);
  EXPECT_EQ(pool.ref_count(0), 2);
  BlockTable c(std::move(a));
  EXPECT_EQ(a.size(), 0);
  EXPECT_EQ(c.size(), 1);
  c = std::move(b);
  EXPECT_EQ(pool.ref_count(0), 1);
  c.Clear();
  ExpectCounts(pool, 0, 0, 2);
}

}  // namespace
}  // namespace slipstream
