#include "kernels/cuda/attention/prefill_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

namespace slipstream::kernels {
namespace {

struct Plan {
  std::vector<PrefillItem> words;  // alignment
  PrefillPlanResult result;
  const int32_t* begin() const { return reinterpret_cast<const int32_t*>(words.data()); }
  const PrefillItem* items(int grid) const {
    return reinterpret_cast<const PrefillItem*>(reinterpret_cast<const std::byte*>(words.data()) +
                                                PrefillItemsOffset(grid));
  }
};

Plan Build(const PrefillPlanShape& shape, const std::vector<int32_t>& kv_len,
           const std::vector<int32_t>& query_len, int min_query_len = 1) {
  std::vector<int32_t> start{0};
  for (int n : query_len) start.push_back(start.back() + n);
  Plan plan;
  plan.words.resize(PrefillPlanBytes(shape) / sizeof(PrefillItem) + 1);
  plan.result = BuildPrefillPlan(shape, {kv_len, start, min_query_len},
                                 std::as_writable_bytes(std::span(plan.words)));
  return plan;
}

PrefillPlanShape Shape(int kv_heads, int group, int max_seqs, int max_tokens, int grid = 132) {
  PrefillPlanShape s;
  s.num_kv_heads = kv_heads;
  s.group = group;
  s.max_seqs = max_seqs;
  s.max_tokens = max_tokens;
  s.grid = grid;
  return s;
}

// Every row of every planned sequence and KV head once, with exactly the tiles it and its
// neighbours see; CTAs get fair shares, longest items first.
void Check(const PrefillPlanShape& shape, const std::vector<int32_t>& kv_len,
           const std::vector<int32_t>& query_len, int min_query_len = 1) {
  const Plan plan = Build(shape, kv_len, query_len, min_query_len);
  ASSERT_EQ(plan.result.status, KernelStatus::kOk);
  ASSERT_LE(plan.result.used_bytes, PrefillPlanBytes(shape));
  const int32_t* begin = plan.begin();
  const PrefillItem* items = plan.items(shape.grid);
  ASSERT_EQ(begin[0], 0);
  ASSERT_EQ(begin[shape.grid], plan.result.num_items);
  const int tile = PrefillTileTokens(shape.head_dim);
  std::map<std::pair<int, int>, std::vector<int>> rows;  // first rows by (sequence, head)
  int64_t total = 0, largest = 0, most = 0, least = INT64_MAX;
  for (int c = 0; c < shape.grid; ++c) {
    ASSERT_LE(begin[c], begin[c + 1]);
    EXPECT_EQ(begin[c] < begin[c + 1], c < plan.result.num_items);
    int64_t load = 0, previous = INT64_MAX;
    for (int i = begin[c]; i < begin[c + 1]; ++i) {
      const PrefillItem& x = items[i];
      EXPECT_EQ(x.query_len, query_len[x.seq]);
      EXPECT_EQ(x.kv_len, kv_len[x.seq]);
      int first_token = 0;
      for (int s = 0; s < x.seq; ++s) first_token += query_len[s];
      EXPECT_EQ(x.first_token, first_token);
      EXPECT_EQ(x.first_row % kPrefillRows, 0);
      rows[{x.seq, x.kv_head}].push_back(x.first_row);
      const int end_row = std::min(x.first_row + kPrefillRows, x.query_len * shape.group);
      int low = INT32_MAX, high = 0;
      for (int r = x.first_row; r < end_row; ++r) {
        const int position = x.kv_len - x.query_len + r / shape.group;
        const int window = shape.sliding_window > 0 ? shape.sliding_window : x.kv_len;
        low = std::min(low, std::max(position - window + 1, 0));
        high = std::max(high, position);
      }
      EXPECT_EQ(x.tile_begin, low / tile);
      EXPECT_EQ(x.tile_end, high / tile + 1);
      const int64_t tiles = x.tile_end - x.tile_begin;
      EXPECT_LE(tiles, previous);
      previous = tiles;
      load += tiles + 1;
      largest = std::max(largest, tiles + 1);
    }
    total += load;
    most = std::max(most, load);
    least = std::min(least, load);
  }
  EXPECT_LE(most - least, largest);
  size_t expected = 0;
  for (size_t s = 0; s < kv_len.size(); ++s) {
    if (query_len[s] < std::max(min_query_len, 1)) continue;
    for (int h = 0; h < shape.num_kv_heads; ++h) {
      ++expected;
      auto& firsts = rows[{static_cast<int>(s), h}];
      std::sort(firsts.begin(), firsts.end());
      const int tiles = (query_len[s] * shape.group + kPrefillRows - 1) / kPrefillRows;
      ASSERT_EQ(firsts.size(), static_cast<size_t>(tiles));
      for (int i = 0; i < tiles; ++i) EXPECT_EQ(firsts[i], i * kPrefillRows);
    }
  }
  EXPECT_EQ(rows.size(), expected);
}

TEST(PrefillPlan, OneLongSequence) { Check(Shape(8, 4, 1, 16384), {16384}, {16384}); }
TEST(PrefillPlan, OneShortChunk) { Check(Shape(1, 1, 1, 9), {5000}, {9}); }
TEST(PrefillPlan, LeavesDecodeOut) {
  Check(Shape(8, 4, 2, 300), {100, 900, 7, 200}, {1, 100, 7, 200}, 9);
}
TEST(PrefillPlan, NothingToDo) {
  const auto shape = Shape(8, 4, 0, 0, 5);
  const Plan plan = Build(shape, {100, 50}, {1, 1}, 9);
  EXPECT_EQ(plan.result.status, KernelStatus::kOk);
  EXPECT_EQ(plan.result.num_items, 0);
  for (int c = 0; c <= shape.grid; ++c) EXPECT_EQ(plan.begin()[c], 0);
}

TEST(PrefillPlan, RandomSteps) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 200; ++trial) {
    const int seqs = 1 + rng() % 20;
    PrefillPlanShape shape = Shape(1 + rng() % 8, 1 + rng() % 16, seqs, 0, 1 + rng() % 140);
    shape.head_dim = rng() % 2 ? 128 : 256;
    if (rng() % 3 == 0) shape.sliding_window = 1 + rng() % 500;
    std::vector<int32_t> kv(seqs), queries(seqs);
    for (int s = 0; s < seqs; ++s) {
      queries[s] = rng() % (trial % 4 == 0 ? 3000 : 100);
      kv[s] = queries[s] + (rng() % 2 ? rng() % 5000 : 0);
      shape.max_tokens += queries[s];
    }
    Check(shape, kv, queries, rng() % 2 ? 1 : 9);
  }
}

TEST(PrefillPlan, SameInputSamePlan) {
  const auto shape = Shape(8, 4, 3, 3000);
  const Plan a = Build(shape, {2000, 30, 777}, {2000, 30, 500});
  const Plan b = Build(shape, {2000, 30, 777}, {2000, 30, 500});
  ASSERT_EQ(a.result.used_bytes, b.result.used_bytes);
  EXPECT_EQ(std::memcmp(a.words.data(), b.words.data(), a.result.used_bytes), 0);
}

TEST(PrefillPlan, RefusesWhatDoesNotFit) {
  const auto shape = Shape(8, 4, 2, 100);
  const auto invalid = KernelStatus::kInvalidArgument;
  EXPECT_EQ(Build(shape, {20, 20, 20}, {20, 20, 20}).result.status, invalid);  // sequences
  EXPECT_EQ(Build(shape, {101}, {101}).result.status, invalid);                // tokens
  EXPECT_EQ(Build(shape, {10}, {11}).result.status, invalid);  // more queries than tokens
  EXPECT_EQ(Build(shape, {10}, {-1}).result.status, invalid);
  EXPECT_EQ(Build(shape, {10, 5}, {10}).result.status, invalid);
  std::vector<PrefillItem> small(1);
  const std::vector<int32_t> kv{20}, start{0, 20};
  EXPECT_EQ(BuildPrefillPlan(shape, {kv, start}, std::as_writable_bytes(std::span(small))).status,
            invalid);
}

}  // namespace
}  // namespace slipstream::kernels
