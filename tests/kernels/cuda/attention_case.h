// One decode-attention problem on host and device: random paged cache with everything unused
// poisoned (NaN slots, invalid block ids), its exact answer, and the answer of the same math in the
// kernel's precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/attention/decode_prefetch.h"
#include "kernels/reference/convert.h"
#include "tests/kernels/cuda/device.h"

namespace slipstream::kernels {

struct AttentionSpec {
  std::string name;
  std::vector<int32_t> kv_len;
  DType kv_dtype = DType::kBF16;
  int head_dim = 128;
  int group = 4;
  int kv_heads = 2;
  int block_size = 16;
  std::vector<int32_t> query_len;  // empty: 1 each, without query_start
  int window = 0;
  float softcap = 0;
  bool sinks = false;
  bool adjacent = false;  // K and V of a tile side by side
  int grid = 0;           // 0: one CTA per SM
  DecodeTuning tuning{};
};

class AttentionCase {
 public:
  explicit AttentionCase(const AttentionSpec& spec, uint32_t seed = 1) : spec_(spec), rng_(seed) {
    q_dtype_ = spec.kv_dtype == DType::kF16 ? DType::kF16 : DType::kBF16;
    elem_bytes_ = GeometryOf(spec.kv_dtype).block_bytes;
    SetLengths(spec.kv_len, spec.query_len);
    FillCache();
  }

  int num_seqs() const { return static_cast<int>(kv_len_.size()); }
  int num_heads() const { return spec_.group * spec_.kv_heads; }
  int num_tokens() const { return query_start_.back(); }
  int64_t row() const { return int64_t{num_heads()} * spec_.head_dim; }

  DecodePlanShape Shape() const {
    DecodePlanShape s;
    s.num_kv_heads = spec_.kv_heads;
    s.group = spec_.group;
    s.head_dim = spec_.head_dim;
    s.kv_dtype = spec_.kv_dtype;
    s.max_query_len = max_query_len_;
    s.sliding_window = spec_.window;
    s.grid = spec_.grid > 0 ? spec_.grid : NumSms();
    s.max_seqs = num_seqs();
    s.min_tiles_per_cta = spec_.tuning.min_tiles_per_cta;
    return s;
  }

  std::vector<DecodeSegment> Plan() const {
    std::vector<DecodeSegment> words(DecodePlanBytes(Shape()) / sizeof(DecodeSegment));
    const auto result = BuildDecodePlan(Shape(), {kv_len_, spec_.query_len},
                                        std::as_writable_bytes(std::span(words)));
    EXPECT_EQ(result.status, KernelStatus::kOk);
    return words;
  }

  // Shorter lengths over the same cache and tables. REQUIRES: none is longer than before.
  void OverrideLengths(const std::vector<int32_t>& kv_len) { kv_len_ = kv_len; }

  // Pointers are the host's; the caller replaces those of the device.
  PagedAttentionParams Params(void* k, void* v) const {
    PagedAttentionParams p;
    p.q = q_.data();
    p.q_dtype = q_dtype_;
    p.q_token_stride = p.out_token_stride = row();
    p.kv = {k,
            v,
            spec_.kv_dtype,
            KvLayout::kSwizzled,
            block_stride_,
            head_stride_,
            num_blocks_,
            spec_.block_size,
            spec_.kv_heads,
            spec_.head_dim,
            0.75f,
            1.5f};
    if (spec_.kv_dtype != DType::kF8E4M3) p.kv.k_scale = p.kv.v_scale = 1.0f;
    p.block_tables = tables_.data();
    p.kv_len = kv_len_.data();
    p.query_start = spec_.query_len.empty() ? nullptr : query_start_.data();
    p.sinks = spec_.sinks ? sinks_.data() : nullptr;
    p.num_seqs = num_seqs();
    p.num_heads = num_heads();
    p.max_blocks = max_blocks_;
    p.max_query_len = max_query_len_;
    p.scale = 1.0f / std::sqrt(static_cast<float>(spec_.head_dim));
    p.logit_softcap = spec_.softcap;
    p.sliding_window = spec_.window;
    return p;
  }

  // Exact: float64 math, unrounded float32 output.
  std::vector<float> Exact() {
    std::vector<float> q(q_.size()), out(q_.size());
    for (size_t i = 0; i < q.size(); ++i) q[i] = LoadElement(&q_[i], q_dtype_);
    PagedAttentionParams p = HostParams();
    p.q = q.data();
    p.out = out.data();
    p.q_dtype = DType::kF32;
    EXPECT_EQ(PagedAttentionReference(p), KernelStatus::kOk);
    return out;
  }
  std::vector<float> LowPrecision() {
    std::vector<uint16_t> out(q_.size());
    PagedAttentionParams p = HostParams();
    p.out = out.data();
    EXPECT_EQ(PagedAttentionLowPrecision(p), KernelStatus::kOk);
    return ToFloat(out);
  }
  std::vector<float> ToFloat(const std::vector<uint16_t>& x) const {
    std::vector<float> f(x.size());
    for (size_t i = 0; i < x.size(); ++i) f[i] = LoadElement(&x[i], q_dtype_);
    return f;
  }

  // Device results within a small multiple of what the same math in low precision costs.
  void ExpectClose(const std::vector<uint16_t>& device) {
    const std::vector<float> exact = Exact(), low = LowPrecision(), got = ToFloat(device);
    ASSERT_EQ(got.size(), exact.size());
    double worst = 0, worst_low = 0, sum = 0, sum_low = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      ASSERT_FALSE(std::isnan(got[i])) << spec_.name << ": NaN at " << i;
      const double e = std::fabs(got[i] - exact[i]), l = std::fabs(low[i] - exact[i]);
      worst = std::max(worst, e);
      worst_low = std::max(worst_low, l);
      sum += e * e;
      sum_low += l * l;
    }
    EXPECT_LE(worst, 2.5 * worst_low + 1e-6) << spec_.name;
    EXPECT_LE(std::sqrt(sum), 1.5 * std::sqrt(sum_low) + 1e-6) << spec_.name;
  }

  const AttentionSpec& spec() const { return spec_; }
  std::vector<unsigned char>& k() { return k_; }
  std::vector<unsigned char>& v() { return v_; }
  const std::vector<uint16_t>& q() const { return q_; }
  const std::vector<int32_t>& tables() const { return tables_; }
  const std::vector<int32_t>& kv_len() const { return kv_len_; }
  const std::vector<int32_t>& query_start() const { return query_start_; }
  const std::vector<float>& sinks() const { return sinks_; }

 private:
  PagedAttentionParams HostParams() {
    return Params(k_.data(), spec_.adjacent ? k_.data() + tile_bytes_ : v_.data());
  }

  void SetLengths(const std::vector<int32_t>& kv_len, const std::vector<int32_t>& query_len) {
    kv_len_ = kv_len;
    query_start_.assign(1, 0);
    for (size_t s = 0; s < kv_len.size(); ++s) {
      const int n = query_len.empty() ? 1 : query_len[s];
      query_start_.push_back(query_start_.back() + n);
      max_query_len_ = std::max(max_query_len_, n);
    }
    max_blocks_ = 1;
    num_blocks_ = 3;  // some are never used
    for (int len : kv_len) {
      const int n = (len + spec_.block_size - 1) / spec_.block_size;
      max_blocks_ = std::max(max_blocks_, n);
      num_blocks_ += n;
    }
    std::vector<int32_t> ids(num_blocks_);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), rng_);
    tables_.assign(size_t(num_seqs()) * max_blocks_, 0x3FFFFFFF);
    size_t next = 0;
    for (int s = 0; s < num_seqs(); ++s) {
      const int n = (kv_len[s] + spec_.block_size - 1) / spec_.block_size;
      for (int b = 0; b < n; ++b) tables_[size_t(s) * max_blocks_ + b] = ids[next++];
    }
    std::normal_distribution<float> normal;
    q_.resize(size_t(num_tokens()) * row());
    for (auto& x : q_) StoreElement(&x, q_dtype_, 1.5f * normal(rng_));
    sinks_.resize(num_heads());
    for (auto& x : sinks_) x = normal(rng_) + 2.0f;
  }

  void FillCache() {
    tile_bytes_ = int64_t{spec_.block_size} * spec_.head_dim * elem_bytes_;
    head_stride_ = tile_bytes_ * (spec_.adjacent ? 2 : 1);
    block_stride_ = head_stride_ * spec_.kv_heads;
    k_.assign(size_t(block_stride_) * num_blocks_, 0xFF);  // NaN in every dtype
    if (!spec_.adjacent) v_.assign(k_.size(), 0xFF);
    unsigned char* values = spec_.adjacent ? k_.data() + tile_bytes_ : v_.data();
    std::normal_distribution<float> normal;
    std::vector<float> pool(4099);
    for (float& x : pool) x = normal(rng_);
    size_t next = 0;
    for (int s = 0; s < num_seqs(); ++s) {
      for (int t = 0; t < kv_len_[s]; ++t) {
        const int64_t block = tables_[size_t(s) * max_blocks_ + t / spec_.block_size];
        for (int h = 0; h < spec_.kv_heads; ++h) {
          const int64_t tile = block * block_stride_ + h * head_stride_;
          for (int d = 0; d < spec_.head_dim; ++d) {
            Put(k_.data() + tile, false, t, d, pool[next++ % pool.size()]);
            Put(values + tile, true, t, d, pool[next++ % pool.size()] + 0.25f);
          }
        }
      }
    }
  }

  void Put(unsigned char* tile, bool value, int t, int d, float x) {
    const int in_block = t % spec_.block_size;
    const int64_t at =
        value ? ValueByteOffset(KvLayout::kSwizzled, in_block, d, spec_.head_dim, elem_bytes_)
              : KeyByteOffset(KvLayout::kSwizzled, in_block, d, spec_.head_dim, elem_bytes_);
    StoreElement(tile + at, spec_.kv_dtype, x);
  }

  AttentionSpec spec_;
  std::mt19937 rng_;
  DType q_dtype_;
  int elem_bytes_, max_query_len_ = 1, max_blocks_ = 1, num_blocks_ = 0;
  int64_t tile_bytes_ = 0, block_stride_ = 0, head_stride_ = 0;
  std::vector<int32_t> kv_len_, query_start_, tables_;
  std::vector<uint16_t> q_;
  std::vector<float> sinks_;
  std::vector<unsigned char> k_, v_;
};

}  // namespace slipstream::kernels
