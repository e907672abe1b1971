// prefill_sm90 against the float64 reference: every unused slot of the cache, every row that the
// plan leaves out and every gap between rows is poisoned.
#include "kernels/cuda/attention/prefill_sm90.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/kernels/cuda/attention_case.h"

namespace slipstream::kernels {
namespace {

constexpr int kGap = 24;  // elements between rows of q and of out
constexpr uint16_t kPoison = 0xFFFF;

struct PrefillSpec : AttentionSpec {
  int min_query_len = 1;
  bool dependent = false;
};

PrefillPlanShape ShapeOf(const PrefillSpec& spec, const AttentionCase& c) {
  PrefillPlanShape s;
  s.num_kv_heads = spec.kv_heads;
  s.group = spec.group;
  s.head_dim = spec.head_dim;
  s.sliding_window = spec.window;
  s.grid = spec.grid > 0 ? spec.grid : NumSms();
  s.max_seqs = c.num_seqs();
  s.max_tokens = c.num_tokens();
  return s;
}

// Error of one case, and where its wrong elements lie.
class Verdict {
 public:
  Verdict(const PrefillSpec& spec, AttentionCase& c)
      : spec_(spec), case_(c), exact_(c.Exact()), low_(c.LowPrecision()) {}

  // `got`: rows of case_.row() + kGap elements.
  void Check(const std::vector<uint16_t>& got) {
    const int64_t row = case_.row();
    for (int s = 0; s < case_.num_seqs(); ++s) {
      const bool planned = spec_.query_len[s] >= spec_.min_query_len;
      for (int t = case_.query_start()[s]; t < case_.query_start()[s + 1]; ++t) {
        const uint16_t* at = got.data() + t * (row + kGap);
        for (int64_t i = 0; i < row; ++i) {
          if (planned) {
            Add(s, t, i, at[i]);
          } else if (at[i] != kPoison) {
            ++stray_;
          }
        }
      }
    }
    for (int t = 0; t <= case_.num_tokens(); ++t) {
      const uint16_t* gap = got.data() + t * (row + kGap) + (t < case_.num_tokens() ? row : 0);
      for (int i = 0; i < kGap; ++i) stray_ += gap[i] != kPoison;
    }
    EXPECT_EQ(stray_, 0) << spec_.name << ": wrote outside its rows";
    const bool close =
        nans_ == 0 && worst_ <= Limit() && std::sqrt(sum_) <= 1.5 * std::sqrt(sum_low_) + 1e-6;
    EXPECT_TRUE(close) << spec_.name;
    if (!close) Explain(got);
  }

 private:
  double Limit() const { return 2.5 * worst_low_ + 1e-6; }

  float Value(uint16_t x) const {
    return LoadElement(&x, spec_.kv_dtype == DType::kF16 ? DType::kF16 : DType::kBF16);
  }

  void Add(int, int t, int64_t i, uint16_t x) {
    const size_t at = size_t(t) * case_.row() + i;
    const double e = std::fabs(Value(x) - exact_[at]), l = std::fabs(low_[at] - exact_[at]);
    if (std::isnan(e)) {
      ++nans_;
      return;
    }
    worst_ = std::max(worst_, e);
    worst_low_ = std::max(worst_low_, l);
    sum_ += e * e;
    sum_low_ += l * l;
  }

  // Counts of wrong elements by what could explain them; the log is all there is to go by.
  void Explain(const std::vector<uint16_t>& got) const {
    const int dim = spec_.head_dim;
    std::vector<int> by_seq(case_.num_seqs()), by_head(case_.num_heads()), by_dim(dim / 8);
    std::vector<int> by_tile(64), by_row(kPrefillRows / 8), by_row8(8);
    int shown = 0, bad = 0, total = 0;
    std::printf("%s: worst %.3g (allowed %.3g), rms ratio %.3g, NaN %d\n", spec_.name.c_str(),
                worst_, Limit(), std::sqrt(sum_ / (sum_low_ + 1e-30)), nans_);
    for (int s = 0; s < case_.num_seqs(); ++s) {
      if (spec_.query_len[s] < spec_.min_query_len) continue;
      const int first = case_.query_start()[s];
      for (int t = first; t < case_.query_start()[s + 1]; ++t) {
        for (int64_t i = 0; i < case_.row(); ++i, ++total) {
          const float x = Value(got[t * (case_.row() + kGap) + i]);
          const float want = exact_[size_t(t) * case_.row() + i];
          if (std::fabs(x - want) <= Limit()) continue;
          const int head = static_cast<int>(i) / dim, d = static_cast<int>(i) % dim;
          const int r = (t - first) * spec_.group + head % spec_.group;
          ++bad, ++by_seq[s], ++by_head[head], ++by_dim[d / 8];
          ++by_tile[std::min(r / kPrefillRows, 63)], ++by_row[r % kPrefillRows / 8],
              ++by_row8[r % 8];
          if (++shown <= 12) {
            std::printf("  seq %d token %d head %d d %d row %d: got %g want %g\n", s, t - first,
                        head, d, r, x, want);
          }
        }
      }
    }
    std::printf("  %d of %d wrong\n", bad, total);
    Print("sequence", by_seq);
    Print("head", by_head);
    Print("d / 8", by_dim);
    Print("row tile", by_tile);
    Print("row / 8 in its tile", by_row);
    Print("row % 8", by_row8);
  }

  static void Print(const char* what, const std::vector<int>& counts) {
    std::printf("  by %s:", what);
    for (int n : counts) std::printf(" %d", n);
    std::printf("\n");
  }

  const PrefillSpec& spec_;
  AttentionCase& case_;
  std::vector<float> exact_, low_;
  double worst_ = 0, worst_low_ = 0, sum_ = 0, sum_low_ = 0;
  int nans_ = 0, stray_ = 0;
};

// Rows with a poisoned gap after each, and one more gap at the end.
std::vector<uint16_t> Spread(const std::vector<uint16_t>& x, int64_t row) {
  const int64_t rows = static_cast<int64_t>(x.size()) / row;
  std::vector<uint16_t> out(rows * (row + kGap) + kGap, kPoison);
  for (int64_t t = 0; t < rows; ++t) {
    std::copy_n(x.data() + t * row, row, out.data() + t * (row + kGap));
  }
  return out;
}

void Check(const PrefillSpec& spec) {
  SLIP_REQUIRE_DEVICE();
  AttentionCase c(spec);
  const PrefillPlanShape shape = ShapeOf(spec, c);
  std::vector<PrefillItem> words(PrefillPlanBytes(shape) / sizeof(PrefillItem) + 1);
  const PrefillPlanResult plan =
      BuildPrefillPlan(shape, {c.kv_len(), c.query_start(), spec.min_query_len},
                       std::as_writable_bytes(std::span(words)));
  ASSERT_EQ(plan.status, KernelStatus::kOk);
  const auto spread = Spread(c.q(), c.row());
  DeviceBytes k(c.k()), v(c.v()), q(spread), out(spread.size() * 2), tables(c.tables());
  DeviceBytes sinks(c.sinks()), device_plan(words);
  const int64_t tile = int64_t{spec.block_size} * spec.head_dim * 2;
  PagedAttentionParams p =
      c.Params(k.get(), spec.adjacent ? k.get<unsigned char>() + tile : v.get<unsigned char>());
  p.q = q.get();
  p.out = out.get();
  p.q_token_stride = p.out_token_stride = c.row() + kGap;
  p.block_tables = tables.get<int32_t>();
  p.kv_len = p.query_start = nullptr;  // the plan has them
  if (p.sinks) p.sinks = sinks.get<float>();
  Verdict verdict(spec, c);
  std::vector<uint16_t> first;
  for (int run = 0; run < 2; ++run) {
    SLIP_CUDA_OK(cudaMemset(out.get(), 0xFF, spread.size() * 2));
    ASSERT_EQ(PrefillSm90(p, shape, device_plan.get(), plan.num_items, spec.dependent, nullptr),
              KernelStatus::kOk)
        << spec.name;
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess)
        << spec.name << ": " << cudaGetErrorString(cudaGetLastError());
    const auto got = out.Download<uint16_t>();
    if (run == 0) {
      verdict.Check(got);
      first = got;
    } else {
      EXPECT_EQ(got, first) << spec.name << ": not deterministic";
    }
  }
}

// Query lengths and prefixes already in the cache.
PrefillSpec Spec(std::string name, std::vector<int32_t> query_len,
                 const std::vector<int32_t>& prefix = {}) {
  PrefillSpec s;
  s.name = std::move(name);
  s.query_len = std::move(query_len);
  for (size_t i = 0; i < s.query_len.size(); ++i) {
    s.kv_len.push_back(s.query_len[i] + (i < prefix.size() ? prefix[i] : 0));
  }
  return s;
}

// Smallest first: the first failure is the easiest to read.
TEST(Prefill, OneTileOneHead) {
  PrefillSpec s = Spec("one tile", {64});
  s.group = s.kv_heads = 1;
  Check(s);
  s = Spec("one full tile", {128});
  s.group = s.kv_heads = 1;
  s.block_size = 128;
  Check(s);
}

TEST(Prefill, TwoKvTilesOneHead) {
  PrefillSpec s = Spec("two kv tiles", {64}, {192});
  s.group = s.kv_heads = 1;
  Check(s);
  s = Spec("three kv tiles, one CTA", {300});
  s.group = s.kv_heads = 1;
  s.grid = 1;
  Check(s);
}

TEST(Prefill, ChunkLengths) {
  Check(Spec("lengths", {9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 200}));
  Check(Spec("lengths after prefixes", {9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129},
             {119, 1, 16, 111, 97, 200, 128, 65, 64, 300, 29, 127}));
}

TEST(Prefill, EveryDtypeHeadDimAndBlockSize) {
  for (DType t : {DType::kBF16, DType::kF16}) {
    for (int head_dim : {64, 96, 128, 256}) {
      for (int block : {16, 32, 64, 128}) {
        PrefillSpec s = Spec(
            std::string(NameOf(t)) + " d" + std::to_string(head_dim) + " b" + std::to_string(block),
            {9, 70, 130}, {170, 0, 100});
        s.kv_dtype = t;
        s.head_dim = head_dim;
        s.block_size = block;
        Check(s);
      }
    }
  }
}

TEST(Prefill, EveryGroup) {
  for (int group : {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 40}) {
    PrefillSpec s = Spec("group " + std::to_string(group), {45, 100}, {130, 0});
    s.group = group;
    s.kv_heads = group > 4 ? 1 : 2;
    Check(s);
  }
}

TEST(Prefill, Windows) {
  for (int head_dim : {128, 256}) {
    for (int window : {1, 5, 16, 100, 127, 128, 129, 300}) {
      PrefillSpec s = Spec("window " + std::to_string(window) + " d" + std::to_string(head_dim),
                           {9, 60, 200}, {400, 77, 250});
      s.window = window;
      s.head_dim = head_dim;
      s.kv_heads = 1;
      Check(s);
    }
  }
}

TEST(Prefill, SoftcapSinksAdjacent) {
  for (int head_dim : {64, 96, 128, 256}) {
    for (int variant = 1; variant < 8; ++variant) {
      PrefillSpec s = Spec("variant " + std::to_string(variant) + " d" + std::to_string(head_dim),
                           {33, 90}, {200, 0});
      s.kv_dtype = variant % 2 ? DType::kF16 : DType::kBF16;
      s.softcap = variant & 1 ? 2.0f : 0;
      s.sinks = (variant & 2) != 0;
      s.adjacent = (variant & 4) != 0;
      s.window = variant == 7 ? 50 : 0;
      s.head_dim = head_dim;
      s.kv_heads = 1;
      Check(s);
    }
  }
}

// Few CTAs with many work items each: buffers, phases and turns carry over from item to item.
TEST(Prefill, ManyItemsPerCta) {
  for (int head_dim : {64, 128, 256}) {
    for (int grid : {1, 2, 5}) {
      PrefillSpec s = Spec("grid " + std::to_string(grid) + " d" + std::to_string(head_dim),
                           {40, 9, 150, 10, 11, 64, 12}, {0, 500, 0, 1, 300, 33, 260});
      s.grid = grid;
      s.head_dim = head_dim;
      Check(s);
    }
  }
}

TEST(Prefill, LongPrefix) {
  PrefillSpec s = Spec("long prefix", {20, 9}, {5000, 3001});
  s.kv_heads = 1;
  Check(s);
  s.block_size = 128;
  s.group = 8;
  Check(s);
}

TEST(Prefill, LeavesDecodeRowsAlone) {
  PrefillSpec s = Spec("mixed", {1, 50, 3, 9, 0, 8, 70, 1}, {300, 20, 40, 0, 0, 12, 200, 0});
  s.min_query_len = 9;
  Check(s);
  s.dependent = true;
  Check(s);
}

TEST(Prefill, RefusesWhatContradicts) {
  PagedAttentionParams p;
  PrefillPlanShape shape;
  EXPECT_EQ(PrefillSm90(p, shape, nullptr, 1, false, nullptr), KernelStatus::kInvalidArgument);
  alignas(128) static unsigned char bytes[128];
  p.q = p.kv.k = p.kv.v = p.out = bytes;
  p.block_tables = reinterpret_cast<const int32_t*>(bytes);
  p.num_heads = 8;
  p.kv.num_kv_heads = shape.num_kv_heads = 2;
  shape.group = 4;
  p.kv.head_dim = shape.head_dim = 80;
  EXPECT_EQ(PrefillSm90(p, shape, bytes, 1, false, nullptr), KernelStatus::kUnsupported);
  EXPECT_EQ(PrefillSm90(p, shape, bytes, 0, false, nullptr), KernelStatus::kOk);
  p.kv.dtype = DType::kF8E4M3;
  EXPECT_EQ(PrefillSm90(p, shape, bytes, 1, false, nullptr), KernelStatus::kUnsupported);
  p.kv.dtype = DType::kBF16;
  p.q_token_stride = 4;
  EXPECT_EQ(PrefillSm90(p, shape, bytes, 1, false, nullptr), KernelStatus::kInvalidArgument);
}

}  // namespace
}  // namespace slipstream::kernels
