// The cache layout and the references that the device tests compare against.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "kernels/api/block_copy.h"
#include "kernels/api/kv_write.h"
#include "kernels/api/paged_attention.h"
#include "kernels/reference/convert.h"

namespace slipstream::kernels {
namespace {

TEST(KvLayout, EveryElementHasItsOwnPlace) {
  for (int head_dim : {64, 96, 128, 256}) {
    for (int bytes : {1, 2}) {
      for (bool value : {false, true}) {
        std::set<int64_t> seen;
        for (int t = 0; t < 64; ++t) {
          for (int d = 0; d < head_dim; ++d) {
            const int64_t at = value ? ValueByteOffset(KvLayout::kSwizzled, t, d, head_dim, bytes)
                                     : KeyByteOffset(KvLayout::kSwizzled, t, d, head_dim, bytes);
            EXPECT_GE(at, 0);
            EXPECT_LE(at + bytes, int64_t{64} * head_dim * bytes);
            EXPECT_TRUE(seen.insert(at).second);
          }
        }
      }
    }
  }
}

// Eight consecutive rows at one chunk, as ldmatrix reads them, touch all 32 banks once.
TEST(KvLayout, RowsDoNotShareBanks) {
  for (int bytes : {1, 2}) {
    for (int row_bytes : {64, 96, 128, 192, 256, 512}) {
      for (int chunk = 0; chunk < row_bytes / 16; ++chunk) {
        for (int t0 : {0, 8}) {
          std::set<int64_t> groups;
          for (int t = t0; t < t0 + 8; ++t) {
            groups.insert(KeyByteOffset(KvLayout::kSwizzled, t, chunk * 16 / bytes,
                                        row_bytes / bytes, bytes) /
                          16 % 8);
          }
          EXPECT_EQ(groups.size(), 8u) << row_bytes;
        }
      }
    }
  }
}

// What the bulk copies of the kernels rely on: 8 tokens are one contiguous piece, and 16 of 8-bit
// V.
TEST(KvLayout, GroupsOfTokensAreContiguous) {
  for (int head_dim : {64, 96, 128, 256}) {
    for (int bytes : {1, 2}) {
      for (bool value : {false, true}) {
        const int group = value && bytes == 1 ? 16 : 8;
        const int64_t size = int64_t{group} * head_dim * bytes;
        for (int t = 0; t < 128; ++t) {
          for (int d = 0; d < head_dim; ++d) {
            const int64_t at = value ? ValueByteOffset(KvLayout::kSwizzled, t, d, head_dim, bytes)
                                     : KeyByteOffset(KvLayout::kSwizzled, t, d, head_dim, bytes);
            ASSERT_EQ(at / size, t / group);
          }
        }
      }
    }
  }
}

// The address that wgmma computes for 16-bit operands with a swizzle of `atom` bytes (PTX ISA,
// asynchronous warpgroup level canonical layouts).
int64_t Swizzled(int64_t address, int atom) {
  return address ^ ((address >> 7 & (atom / 16 - 1)) << 4);
}

// A 16-bit tile is a K-major operand [tokens, head_dim] and an MN-major one [head_dim, tokens].
TEST(KvLayout, SixteenBitTilesAreWgmmaOperands) {
  for (int head_dim : {64, 96, 128, 256}) {
    const int row = head_dim * 2, atom = AtomRowBytes(row, 2);
    const int64_t between_groups = 8 * row, between_atoms = 8 * atom;
    EXPECT_EQ(atom, head_dim == 96 ? 64 : 128);
    for (int t = 0; t < 128; ++t) {
      for (int d = 0; d < head_dim; ++d) {
        // Scores: step of 16 elements of head_dim, token on N.
        const int step = d / 16 * 32;
        const int64_t start = step / atom * between_atoms + step % atom;
        EXPECT_EQ(Swizzled(start + t / 8 * between_groups + t % 8 * atom + d % 16 * 2, atom),
                  KeyByteOffset(KvLayout::kSwizzled, t, d, head_dim, 2));
        // Output: step of 16 tokens, head_dim on N.
        const int64_t tokens = t / 16 * 2 * between_groups;
        EXPECT_EQ(Swizzled(tokens + d * 2 / atom * between_atoms + d * 2 % atom +
                               t % 16 / 8 * between_groups + t % 8 * atom,
                           atom),
                  ValueByteOffset(KvLayout::kSwizzled, t, d, head_dim, 2));
      }
    }
  }
}

TEST(Convert, SmallFloatsRoundTrip) {
  for (int i = 0; i < 256; ++i) {
    const float f = E4M3ToFloat(static_cast<uint8_t>(i));
    if (!std::isnan(f)) {
      EXPECT_EQ(FloatToE4M3(f), i);
    }
  }
  for (int i = 0; i < 65536; ++i) {
    const float f = F16ToFloat(static_cast<uint16_t>(i));
    if (!std::isnan(f)) {
      EXPECT_EQ(FloatToF16(f), i);
    }
    const float b = BF16ToFloat(static_cast<uint16_t>(i));
    if (!std::isnan(b)) {
      EXPECT_EQ(FloatToBF16(b), i);
    }
  }
  EXPECT_EQ(E4M3ToFloat(FloatToE4M3(1e9f)), 448.0f);
  EXPECT_EQ(E4M3ToFloat(FloatToE4M3(17.0f)), 16.0f);  // ties to even
  EXPECT_EQ(F16ToFloat(FloatToF16(2049.0f)), 2048.0f);
}

// One KV head, plain float32 cache of `len` tokens of width 32, block 16, table reversed.
struct Small {
  static constexpr int kDim = 32;
  std::vector<float> k, v, q, out;
  std::vector<int32_t> table, len;
  PagedAttentionParams p;

  explicit Small(int tokens, int heads = 1) : k(64 * kDim), v(64 * kDim), q(heads * kDim) {
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    for (auto* x : {&k, &v, &q}) {
      for (float& f : *x) f = normal(rng);
    }
    out.resize(q.size());
    table = {3, 2, 1, 0};
    len = {tokens};
    p.q = q.data();
    p.out = out.data();
    p.q_dtype = DType::kF32;
    p.q_token_stride = p.out_token_stride = heads * kDim;
    p.kv = {k.data(), v.data(), DType::kF32, KvLayout::kPlain, 16 * kDim * 4, 16 * kDim * 4, 4,
            16,       1,        kDim};
    p.block_tables = table.data();
    p.kv_len = len.data();
    p.num_seqs = 1;
    p.num_heads = heads;
    p.max_blocks = 4;
    p.scale = 0.2f;
  }
  const float* Row(const std::vector<float>& x, int t) const {
    return x.data() + (table[t / 16] * 16 + t % 16) * kDim;
  }
};

TEST(PagedAttentionReference, OneTokenGivesItsValue) {
  Small s(1);
  ASSERT_EQ(PagedAttentionReference(s.p), KernelStatus::kOk);
  for (int d = 0; d < Small::kDim; ++d) EXPECT_FLOAT_EQ(s.out[d], s.Row(s.v, 0)[d]);
}

TEST(PagedAttentionReference, ZeroQueryGivesTheMean) {
  Small s(50);
  std::fill(s.q.begin(), s.q.end(), 0.0f);
  ASSERT_EQ(PagedAttentionReference(s.p), KernelStatus::kOk);
  for (int d = 0; d < Small::kDim; ++d) {
    double mean = 0;
    for (int t = 0; t < 50; ++t) mean += s.Row(s.v, t)[d] / 50.0;
    EXPECT_NEAR(s.out[d], mean, 1e-6);
  }
}

TEST(PagedAttentionReference, WindowSinkAndEmpty) {
  Small s(50);
  std::fill(s.q.begin(), s.q.end(), 0.0f);
  s.p.sliding_window = 3;
  const float sink = 0.0f;  // as heavy as one token
  s.p.sinks = &sink;
  ASSERT_EQ(PagedAttentionReference(s.p), KernelStatus::kOk);
  for (int d = 0; d < Small::kDim; ++d) {
    EXPECT_NEAR(s.out[d], (s.Row(s.v, 47)[d] + s.Row(s.v, 48)[d] + s.Row(s.v, 49)[d]) / 4, 1e-6);
  }
  s.len[0] = 0;
  ASSERT_EQ(PagedAttentionReference(s.p), KernelStatus::kOk);
  for (float x : s.out) EXPECT_EQ(x, 0.0f);
}

TEST(PagedAttentionReference, RefusesNullAndBadGroups) {
  Small s(5);
  s.p.num_heads = 0;
  EXPECT_EQ(PagedAttentionReference(s.p), KernelStatus::kInvalidArgument);
  Small t(5);
  t.p.kv.k = nullptr;
  EXPECT_EQ(PagedAttentionReference(t.p), KernelStatus::kInvalidArgument);
}

TEST(KvWriteReference, RotationKeepsLengthAndPositionZeroKeepsAll) {
  constexpr int kDim = 32;
  std::vector<float> k(2 * kDim), v(2 * kDim), cache_k(16 * kDim), cache_v(16 * kDim);
  for (int i = 0; i < 2 * kDim; ++i) k[i] = std::sin(i + 1.0f), v[i] = std::cos(i);
  std::vector<float> cos(2 * kDim / 2), sin(2 * kDim / 2);
  for (int pos = 0; pos < 2; ++pos) {
    for (int i = 0; i < kDim / 2; ++i) {
      const float angle = pos * std::pow(10000.0f, -2.0f * i / kDim);
      cos[pos * kDim / 2 + i] = std::cos(angle);
      sin[pos * kDim / 2 + i] = std::sin(angle);
    }
  }
  const std::vector<int64_t> slots = {5, 9};
  const std::vector<int32_t> positions = {0, 1};
  KvWriteParams p;
  p.k = k.data();
  p.v = v.data();
  p.dtype = DType::kF32;
  p.k_token_stride = p.v_token_stride = kDim;
  p.kv = {cache_k.data(),
          cache_v.data(),
          DType::kF32,
          KvLayout::kPlain,
          16 * kDim * 4,
          16 * kDim * 4,
          1,
          16,
          1,
          kDim};
  p.slot_ids = slots.data();
  p.positions = positions.data();
  p.cos = cos.data();
  p.sin = sin.data();
  p.rope = RopeStyle::kNeox;
  p.rotary_dim = kDim;
  p.num_tokens = 2;
  ASSERT_EQ(KvWriteReference(p), KernelStatus::kOk);
  double before = 0, after = 0;
  for (int d = 0; d < kDim; ++d) {
    EXPECT_EQ(cache_k[5 * kDim + d], k[d]);
    EXPECT_EQ(cache_v[9 * kDim + d], v[kDim + d]);
    before += k[kDim + d] * k[kDim + d];
    after += cache_k[9 * kDim + d] * cache_k[9 * kDim + d];
  }
  EXPECT_NEAR(before, after, 1e-5);
  EXPECT_NE(cache_k[9 * kDim], k[kDim]);
}

TEST(BlockCopyReference, CopiesEachPairInEachBuffer) {
  std::vector<uint8_t> a(64), b(64);
  for (int i = 0; i < 64; ++i) a[i] = static_cast<uint8_t>(i), b[i] = static_cast<uint8_t>(2 * i);
  void* buffers[] = {a.data(), b.data()};
  const int32_t pairs[] = {0, 2};
  ASSERT_EQ(BlockCopyReference({buffers, pairs, 16, 16, 2, 1}), KernelStatus::kOk);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(a[32 + i], i);
    EXPECT_EQ(b[32 + i], 2 * i);
    EXPECT_EQ(a[48 + i], 48 + i);
  }
}

}  // namespace
}  // namespace slipstream::kernels
