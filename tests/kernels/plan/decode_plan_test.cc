#include "kernels/cuda/attention/decode_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

namespace slipstream::kernels {
namespace {

struct Plan {
  std::vector<DecodeSegment> words;
  int num_shares = 0;
  DecodePlanResult result;

  const DecodeShare& share(int n) const {
    return reinterpret_cast<const DecodeShare*>(words.data())[num_shares + n];
  }
  int num_segments(int n) const { return NumSegments(share(n)); }
  bool first_is_tail(int n) const { return (share(n).num_segments & kFirstIsTail) != 0; }
  DecodeSegment segment(int n, int i) const {
    return i == 0 ? words[n] : words[share(n).rest_begin + i - 1];
  }
};

Plan Build(const DecodePlanShape& shape, const std::vector<int32_t>& kv_len,
           const std::vector<int32_t>& query_len = {}) {
  Plan plan;
  plan.num_shares = shape.grid;
  plan.words.resize(DecodePlanBytes(shape) / sizeof(DecodeSegment));
  plan.result =
      BuildDecodePlan(shape, {kv_len, query_len}, std::as_writable_bytes(std::span(plan.words)));
  return plan;
}

DecodePlanShape Shape(int kv_heads, int group, int max_seqs, int grid = 132) {
  DecodePlanShape s;
  s.num_kv_heads = kv_heads;
  s.group = group;
  s.max_seqs = max_seqs;
  s.grid = grid;
  s.min_tiles_per_cta = 1;
  return s;
}

// Every tile of every row exactly once, fair shares, and the merge fields as the kernel uses them.
void Check(const DecodePlanShape& shape, const std::vector<int32_t>& kv_len,
           const std::vector<int32_t>& query_len = {}) {
  const Plan plan = Build(shape, kv_len, query_len);
  ASSERT_EQ(plan.result.status, KernelStatus::kOk);
  ASSERT_LE(plan.result.used_bytes, DecodePlanBytes(shape));
  struct Piece {
    int share, index, begin, end;
  };
  std::map<std::pair<int, int>, std::vector<Piece>> rows;
  std::vector<int64_t> tiles(plan.num_shares);
  for (int c = 0; c < plan.num_shares; ++c) {
    for (int i = 0; i < plan.num_segments(c); ++i) {
      const DecodeSegment s = plan.segment(c, i);
      rows[{s.seq, s.head_pass}].push_back({c, i, s.tile_begin, s.tile_end});
      tiles[c] += s.tile_end - s.tile_begin;
    }
  }
  int64_t total = 0;
  size_t num_rows = 0;
  const int tile = DecodeTileTokens(shape.kv_dtype);
  for (size_t s = 0; s < kv_len.size(); ++s) {
    const int q = query_len.empty() ? 1 : query_len[s];
    const int passes = (shape.group * q + DecodeRowsPerPass(shape) - 1) / DecodeRowsPerPass(shape);
    const int end = (kv_len[s] + tile - 1) / tile;
    const int lowest = shape.sliding_window == 0
                           ? 0
                           : std::max(std::max(kv_len[s] - q, 0) - shape.sliding_window + 1, 0);
    for (int pass = 0; pass < passes; ++pass) {
      for (int h = 0; h < shape.num_kv_heads; ++h) {
        ++num_rows;
        auto it = rows.find({static_cast<int>(s), h | pass << 16});
        ASSERT_NE(it, rows.end()) << "no share writes sequence " << s;
        auto& pieces = it->second;
        std::sort(pieces.begin(), pieces.end(),
                  [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
        EXPECT_EQ(pieces.front().begin, end == 0 ? 0 : std::min(lowest / tile, end));
        EXPECT_EQ(pieces.back().end, end);
        total += pieces.back().end - pieces.front().begin;
        for (size_t i = 0; i < pieces.size(); ++i) {
          const Piece& piece = pieces[i];
          if (i > 0) {
            EXPECT_EQ(piece.begin, pieces[i - 1].end);
            EXPECT_EQ(piece.share, pieces[i - 1].share - 1);
          }
          const bool split = pieces.size() > 1, tail = split && i + 1 == pieces.size();
          const bool last_of_share = piece.index + 1 == plan.num_segments(piece.share);
          EXPECT_EQ(plan.first_is_tail(piece.share) && piece.index == 0, tail);
          if (split && !tail) {
            EXPECT_TRUE(last_of_share);
            EXPECT_EQ(plan.share(piece.share).merge_first, pieces.front().share);
            EXPECT_EQ(plan.share(piece.share).merge_last, pieces.back().share);
          } else if (last_of_share) {
            EXPECT_EQ(plan.share(piece.share).merge_first, plan.share(piece.share).merge_last);
          }
        }
      }
    }
  }
  EXPECT_EQ(rows.size(), num_rows);
  const int64_t most = *std::max_element(tiles.begin(), tiles.end());
  const int64_t used = std::count_if(tiles.begin(), tiles.end(), [](int64_t t) { return t > 0; });
  const int64_t even = (total + shape.grid - 1) / shape.grid;
  EXPECT_LE(most * std::max<int64_t>(used, 1),
            std::max<int64_t>((even + 3) * shape.grid, total + used * shape.min_tiles_per_cta));
}

TEST(DecodePlan, OneLongSequenceUsesEverySm) { Check(Shape(8, 4, 1), {4096}); }
TEST(DecodePlan, SmallBatchesKeepRowsApart) {
  const auto shape = Shape(8, 4, 1);
  const Plan plan = Build(shape, {4096});
  for (int n = 0; n < 132; ++n) EXPECT_EQ(plan.num_segments(n), n < 128 ? 1 : 0);
}
TEST(DecodePlan, OneTile) { Check(Shape(1, 8, 1), {1}); }
TEST(DecodePlan, NoSequences) { Check(Shape(8, 4, 4), {}); }
TEST(DecodePlan, AllEmpty) { Check(Shape(8, 4, 4), {0, 0, 0}); }
TEST(DecodePlan, EmptyAmongFull) { Check(Shape(2, 4, 6, 7), {0, 100, 0, 0, 5000, 0}); }
TEST(DecodePlan, LongestContext) { Check(Shape(8, 8, 4), {262144, 1, 262144, 17}); }

TEST(DecodePlan, RandomBatches) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 200; ++trial) {
    const int seqs = 1 + rng() % 40;
    const bool large = trial % 4 == 0;
    DecodePlanShape shape = Shape(1 + rng() % 8, 1 + rng() % 16, seqs, 1 + rng() % 140);
    shape.max_query_len = 1 + rng() % 8;
    shape.min_tiles_per_cta = 1 + rng() % 9;
    shape.kv_dtype = rng() % 2 ? DType::kF8E4M3 : DType::kBF16;
    shape.head_dim = rng() % 2 ? 128 : 256;
    if (rng() % 3 == 0) shape.sliding_window = 1 + rng() % 500;
    std::vector<int32_t> lens(seqs), queries(seqs);
    for (int s = 0; s < seqs; ++s) {
      queries[s] = rng() % (shape.max_query_len + 1);
      lens[s] = rng() % 5 == 0 ? queries[s] : queries[s] + rng() % (large ? 60000 : 3000);
    }
    Check(shape, lens, queries);
  }
}

TEST(DecodePlan, SameInputSamePlan) {
  const auto shape = Shape(8, 4, 3);
  const Plan a = Build(shape, {5000, 3, 777}), b = Build(shape, {5000, 3, 777});
  ASSERT_EQ(a.result.used_bytes, b.result.used_bytes);
  EXPECT_EQ(std::memcmp(a.words.data(), b.words.data(), a.result.used_bytes), 0);
}

TEST(DecodePlan, RefusesWhatDoesNotFit) {
  const auto shape = Shape(8, 4, 2);
  EXPECT_EQ(Build(shape, {1, 2, 3}).result.status, KernelStatus::kInvalidArgument);
  EXPECT_EQ(Build(shape, {-1}).result.status, KernelStatus::kInvalidArgument);
  EXPECT_EQ(Build(shape, {5}, {2}).result.status, KernelStatus::kInvalidArgument);
  EXPECT_EQ(Build(shape, {5, 6}, {1}).result.status, KernelStatus::kInvalidArgument);
}

}  // namespace
}  // namespace slipstream::kernels
