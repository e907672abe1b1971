// Paged attention and the KV write on every instruction set of this machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "kernels/api/cpu_attention.h"
#include "kernels/api/rope.h"
#include "tests/kernels/cpu/random_weights.h"

namespace slipstream::kernels::test {
namespace {

struct Shape {
  int num_heads = 6;
  int num_kv_heads = 2;
  int head_dim = 64;
  int block_size = 16;
  DType dtype = DType::kF32;
  int window = 0;
  float softcap = 0.0f;
};

struct Seq {
  int kv_len;  // this step's queries included
  int queries;
};

// Sequences of random q, k, v whose cache lies in shuffled blocks between poisoned ones.
class PagedCase {
 public:
  PagedCase(const CpuKernels& k, const Shape& shape, std::vector<int> lengths, uint32_t seed)
      : k_(k), s_(shape), lengths_(std::move(lengths)) {
    width_ = (s_.num_heads + 2 * s_.num_kv_heads) * s_.head_dim;
    int blocks = 3;
    for (const int n : lengths_) {
      blocks += (n + s_.block_size - 1) / s_.block_size;
      rows_.push_back(RandomFloats(static_cast<size_t>(n * width_), seed++));
    }
    std::vector<int32_t> free(static_cast<size_t>(blocks));
    std::iota(free.begin(), free.end(), 0);
    std::shuffle(free.begin(), free.end(), std::mt19937(seed));
    for (const int n : lengths_) {
      tables_.emplace_back();
      for (int t = 0; t < n; t += s_.block_size) {
        tables_.back().push_back(free.back());
        free.pop_back();
      }
    }
    const size_t tile = static_cast<size_t>(s_.block_size * s_.head_dim);
    const size_t bytes = BytesOf(s_.dtype, tile * s_.num_kv_heads * static_cast<size_t>(blocks));
    k_cache_.assign(bytes, 0xff);  // NaN in every float dtype
    v_cache_.assign(bytes, 0xff);
    view_ = {k_cache_.data(),
             v_cache_.data(),
             s_.dtype,
             static_cast<int64_t>(tile) * s_.num_kv_heads,
             static_cast<int64_t>(tile),
             s_.block_size,
             s_.num_kv_heads,
             s_.head_dim};
  }

  // One step: writes K/V of each sequence's last `queries` tokens up to kv_len, then attends.
  std::vector<float> Step(const std::vector<std::pair<int, Seq>>& batch, int workers) {
    std::vector<float> qkv;
    std::vector<int32_t> positions, query_start = {0}, kv_len, tables;
    std::vector<int64_t> slots;
    size_t max_blocks = 1;
    for (const auto& table : tables_) max_blocks = std::max(max_blocks, table.size());
    for (const auto& [seq, s] : batch) {
      for (int t = s.kv_len - s.queries; t < s.kv_len; ++t) {
        const float* row = &rows_[seq][static_cast<size_t>(t * width_)];
        qkv.insert(qkv.end(), row, row + width_);
        positions.push_back(t);
        slots.push_back(static_cast<int64_t>(tables_[seq][t / s_.block_size]) * s_.block_size +
                        t % s_.block_size);
      }
      query_start.push_back(static_cast<int32_t>(positions.size()));
      kv_len.push_back(s.kv_len);
      // Blocks that the step may not touch have a table entry far outside the cache.
      std::vector<int32_t> table(max_blocks, 1 << 28);
      const int used = (s.kv_len + s_.block_size - 1) / s_.block_size;
      std::copy_n(tables_[seq].begin(), used, table.begin());
      tables.insert(tables.end(), table.begin(), table.end());
    }
    RopeKvParams r;
    r.qkv = qkv.data();
    r.num_tokens = static_cast<int64_t>(positions.size());
    r.num_heads = s_.num_heads;
    r.positions = positions.data();
    r.slot_ids = slots.data();
    r.kv = view_;
    for (int i = 0; i < workers; ++i) k_.rope_kv(r, {i, workers});
    CpuAttentionParams p;
    p.q = qkv.data();
    p.q_stride = width_;
    std::vector<float> out(positions.size() * static_cast<size_t>(s_.num_heads * s_.head_dim) + 1,
                           kPoison);
    p.out = out.data();
    p.kv = view_;
    p.num_heads = s_.num_heads;
    p.num_seqs = static_cast<int>(batch.size());
    p.query_start = query_start.data();
    p.kv_len = kv_len.data();
    p.block_tables = tables.data();
    p.max_blocks = static_cast<int>(max_blocks);
    p.scale = 0.125f;
    p.sliding_window = s_.window;
    p.logit_softcap = s_.softcap;
    AlignedScratch partials(AttentionPartialBytes(p));
    AlignedScratch scratch(AttentionScratchBytes(p) * static_cast<size_t>(workers));
    p.partials = static_cast<float*>(partials.data());
    p.scratch = static_cast<float*>(scratch.data());
    for (int i = 0; i < workers; ++i) k_.attention(p, {i, workers});
    for (int i = 0; i < workers; ++i) k_.attention_combine(p, {i, workers});
    EXPECT_TRUE(std::isnan(out.back())) << "wrote past the end";
    out.pop_back();
    return out;
  }

  // The reference for the query at `position` of a sequence, all heads.
  std::vector<float> Want(int seq, int position) const {
    const int hd = s_.head_dim, group = s_.num_heads / s_.num_kv_heads;
    std::vector<float> out(static_cast<size_t>(s_.num_heads * hd));
    for (int h = 0; h < s_.num_heads; ++h) {
      std::vector<float> k, v;
      for (int t = 0; t <= position; ++t) {
        const float* row = &rows_[seq][static_cast<size_t>(t * width_)];
        const float* kt = row + (s_.num_heads + h / group) * hd;
        const float* vt = row + (s_.num_heads + s_.num_kv_heads + h / group) * hd;
        k.insert(k.end(), kt, kt + hd);
        v.insert(v.end(), vt, vt + hd);
      }
      reference::AttendOne(&rows_[seq][static_cast<size_t>(position * width_ + h * hd)], k.data(),
                           v.data(), position + 1, hd, 0.125f, s_.window, s_.softcap,
                           &out[static_cast<size_t>(h * hd)]);
    }
    return out;
  }

  size_t row() const { return static_cast<size_t>(s_.num_heads * s_.head_dim); }

 private:
  const CpuKernels& k_;
  Shape s_;
  std::vector<int> lengths_;
  int width_ = 0;
  std::vector<std::vector<float>> rows_;  // q, k, v of every token
  std::vector<std::vector<int32_t>> tables_;
  std::vector<uint8_t> k_cache_, v_cache_;
  CpuKvView view_;
};

class AttentionTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    kernels_ = KernelsFor(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "this machine lacks the instruction set";
  }

  void CheckShape(const Shape& shape) {
    PagedCase c(*kernels_, shape, {70, 1, 530, 33}, 3);
    // Prompts first (one of them split), then a step that mixes a decode and two chunks.
    c.Step({{0, {64, 64}}, {2, {520, 520}}, {3, {17, 17}}}, 1);
    const auto got = c.Step({{0, {70, 6}}, {1, {1, 1}}, {2, {521, 1}}, {3, {33, 16}}}, 3);
    const double tol = shape.dtype == DType::kF32 ? 2e-5 : shape.dtype == DType::kF16 ? 5e-3 : 4e-2;
    size_t at = 0;
    for (const auto& [seq, position] : std::vector<std::pair<int, int>>{
             {0, 64}, {0, 65}, {0, 66}, {0, 67}, {0, 68}, {0, 69}, {1, 0}, {2, 520}, {3, 17}}) {
      const auto want = c.Want(seq, position);
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(got[at + i], want[i], tol) << "sequence " << seq << " position " << position;
      }
      at += want.size();
    }
  }
  const CpuKernels* kernels_ = nullptr;
};

TEST_P(AttentionTest, Plain) { CheckShape({}); }
TEST_P(AttentionTest, OneKvHeadForNine) { CheckShape({.num_heads = 9, .num_kv_heads = 1}); }
TEST_P(AttentionTest, NoGroups) { CheckShape({.num_heads = 3, .num_kv_heads = 3}); }
TEST_P(AttentionTest, HeadDim128) { CheckShape({.head_dim = 128}); }
TEST_P(AttentionTest, HeadDim80Blocks32) { CheckShape({.head_dim = 80, .block_size = 32}); }
TEST_P(AttentionTest, OddHeadDim) { CheckShape({.head_dim = 24}); }
TEST_P(AttentionTest, TinyHeadsAndBlocks) { CheckShape({.head_dim = 8, .block_size = 4}); }
TEST_P(AttentionTest, BlockOfOne) { CheckShape({.block_size = 1}); }
TEST_P(AttentionTest, Block128) { CheckShape({.block_size = 128}); }
TEST_P(AttentionTest, SlidingWindow) { CheckShape({.window = 50}); }
TEST_P(AttentionTest, SlidingWindowOfOne) { CheckShape({.window = 1}); }
TEST_P(AttentionTest, SoftCap) { CheckShape({.softcap = 3.0f}); }
TEST_P(AttentionTest, HalfCache) { CheckShape({.dtype = DType::kF16}); }
TEST_P(AttentionTest, Bf16CacheSmallBlocks) {
  CheckShape({.block_size = 8, .dtype = DType::kBF16});
}

TEST_P(AttentionTest, ChunksAndBatchAndWorkersChangeNoBit) {
  for (const int window : {0, 100}) {
    const Shape shape{.window = window};
    const std::vector<int> lengths = {700, 300};
    PagedCase whole(*kernels_, shape, lengths, 9);
    const auto want = whole.Step({{0, {700, 700}}}, 1);
    for (const std::vector<int>& cuts :
         {std::vector<int>{1, 699}, {16, 3, 1, 380, 300}, {255, 1, 1, 443}, {4, 2, 694}}) {
      PagedCase c(*kernels_, shape, lengths, 9);
      int done = 0, other = 0;
      std::vector<float> got;
      for (const int n : cuts) {
        done += n;
        // A second sequence rides along with chunks of its own.
        const int rest = std::min(60, 300 - other);
        other += rest;
        const auto out = c.Step({{1, {other, rest}}, {0, {done, n}}}, 1 + done % 4);
        got.insert(got.end(), out.begin() + static_cast<int64_t>(c.row()) * rest, out.end());
      }
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i], want[i]) << "position " << i / whole.row() << " window " << window;
      }
    }
  }
}

std::string ParamName(const ::testing::TestParamInfo<Isa>& info) { return IsaName(info.param); }

INSTANTIATE_TEST_SUITE_P(All, AttentionTest, ::testing::ValuesIn(AllIsas()), ParamName);

}  // namespace
}  // namespace slipstream::kernels::test
