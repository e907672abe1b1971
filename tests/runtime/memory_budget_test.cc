#include "runtime/memory_budget.h"

#include <gtest/gtest.h>

namespace slipstream {
namespace {

constexpr KvDemand kDemand{.bytes_per_token = 100, .model_limit = 1000, .free_bytes = 30'000'000};

TEST(MemoryBudgetTest, DefaultHoldsAQuarterOfTheSequencesAtFullLength) {
  const auto got = PlanKvBudget({.max_num_seqs = 8}, kDemand);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->max_model_len, 1000);
  EXPECT_EQ(got->num_blocks, 2 * 63);  // 63 blocks of 16 tokens hold 1000
  EXPECT_EQ(got->kv_cache_bytes, 2 * 63 * 1600);
}

TEST(MemoryBudgetTest, DefaultTakesAtMostAThirdOfFreeMemory) {
  const auto got = PlanKvBudget({.max_num_seqs = 100000}, kDemand);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->num_blocks, 10'000'000 / 1600);
}

TEST(MemoryBudgetTest, BlocksGoBeforeBytes) {
  EXPECT_EQ(PlanKvBudget({.num_blocks = 70, .kv_cache_bytes = 1}, kDemand)->num_blocks, 70);
  EXPECT_EQ(PlanKvBudget({.kv_cache_bytes = 160'000}, kDemand)->num_blocks, 100);
}

TEST(MemoryBudgetTest, OneFullSequenceMustFit) {
  const auto got = PlanKvBudget({.kv_cache_bytes = 16'000}, kDemand);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kResourceExhausted);
  for (const char* word : {"1000 tokens", "100000 bytes", "160 tokens", "max_model_len"}) {
    EXPECT_NE(got.error().message.find(word), std::string::npos) << got.error().message;
  }
  EXPECT_TRUE(PlanKvBudget({.kv_cache_bytes = 16'000, .max_model_len = 160}, kDemand));
}

TEST(MemoryBudgetTest, TooFewBlocksAreCalledByTheirOption) {
  const auto got = PlanKvBudget({.num_blocks = 10}, kDemand);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().param, "num_blocks");
  EXPECT_EQ(got.error().message.find("kv_cache_bytes"), std::string::npos) << got.error().message;
  for (const char* word : {"63 KV blocks", "num_blocks is 10", "160 tokens", "raise num_blocks"}) {
    EXPECT_NE(got.error().message.find(word), std::string::npos) << got.error().message;
  }
}

TEST(MemoryBudgetTest, MoreThanFreeMemoryIsAnError) {
  const auto got = PlanKvBudget({.num_blocks = 1'000'000}, kDemand);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().param, "num_blocks");
}

TEST(MemoryBudgetTest, SettingsAreChecked) {
  EXPECT_EQ(PlanKvBudget({.block_size_tokens = 24}, kDemand).error().param, "block_size_tokens");
  EXPECT_EQ(PlanKvBudget({.block_size_tokens = 256}, kDemand).error().param, "block_size_tokens");
  EXPECT_EQ(PlanKvBudget({.max_model_len = 1001}, kDemand).error().param, "max_model_len");
}

}  // namespace
}  // namespace slipstream
