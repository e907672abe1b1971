// Paged attention from the formula: one query row at a time, all scores, then softmax, then V.
#include "kernels/api/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference/convert.h"

namespace slipstream::kernels {
namespace {

bool Valid(const PagedAttentionParams& p) {
  const KvCacheView& kv = p.kv;
  return p.q && p.out && kv.k && kv.v && p.block_tables && p.kv_len && p.num_seqs >= 0 &&
         kv.num_kv_heads > 0 && p.num_heads > 0 && p.num_heads % kv.num_kv_heads == 0 &&
         kv.head_dim > 0 && kv.block_size > 0;
}

// K and V rows of one (sequence, KV head) as floats.
class KvRows {
 public:
  KvRows(const PagedAttentionParams& p, int seq, int kv_head)
      : p_(p), table_(p.block_tables + int64_t{seq} * p.max_blocks), kv_head_(kv_head) {}

  void Load(int token, bool value, float* row) const {
    const KvCacheView& kv = p_.kv;
    const int elem_bytes = GeometryOf(kv.dtype).block_bytes;
    const auto* base = static_cast<const uint8_t*>(value ? kv.v : kv.k) +
                       table_[token / kv.block_size] * kv.block_stride_bytes +
                       kv_head_ * kv.head_stride_bytes;
    const int in_block = token % kv.block_size;
    const float scale = value ? kv.v_scale : kv.k_scale;
    for (int d = 0; d < kv.head_dim; ++d) {
      const int64_t at = value ? ValueByteOffset(kv.layout, in_block, d, kv.head_dim, elem_bytes)
                               : KeyByteOffset(kv.layout, in_block, d, kv.head_dim, elem_bytes);
      row[d] = LoadElement(base + at, kv.dtype) * scale;
    }
  }

 private:
  const PagedAttentionParams& p_;
  const int32_t* table_;
  int kv_head_;
};

// Rounds what a low-precision kernel rounds; identity for the reference.
struct Rounding {
  bool low_precision;
  void Query(DType kv_dtype, std::vector<float>& q) const {
    if (!low_precision || kv_dtype != DType::kF8E4M3) return;
    float largest = 0;
    for (float x : q) largest = std::max(largest, std::fabs(x));
    const float scale = largest > 0 ? largest / 448.0f : 1.0f;
    for (float& x : q) x = RoundTo(DType::kF8E4M3, x / scale) * scale;
  }
  double Probability(DType kv_dtype, double p) const {
    if (!low_precision) return p;
    if (kv_dtype == DType::kF8E4M3) {
      return RoundTo(kv_dtype, static_cast<float>(p * 256)) / 256.0;
    }
    return RoundTo(kv_dtype, static_cast<float>(p));
  }
};

void OneRow(const PagedAttentionParams& p, const Rounding& rounding, int token, int head,
            int first_key, int num_keys, const std::vector<float>& keys,
            const std::vector<float>& values) {
  const int dim = p.kv.head_dim;
  const int q_bytes = GeometryOf(p.q_dtype).block_bytes;
  const auto* q_at =
      static_cast<const uint8_t*>(p.q) + (token * p.q_token_stride + int64_t{head} * dim) * q_bytes;
  std::vector<float> q(dim);
  for (int d = 0; d < dim; ++d) q[d] = LoadElement(q_at + d * q_bytes, p.q_dtype);
  rounding.Query(p.kv.dtype, q);

  std::vector<double> score(num_keys);
  double largest = -INFINITY;
  for (int t = 0; t < num_keys; ++t) {
    double s = 0;
    const float* k = keys.data() + int64_t{first_key + t} * dim;
    for (int d = 0; d < dim; ++d) s += double{q[d]} * k[d];
    s *= p.scale;
    if (p.logit_softcap > 0) s = p.logit_softcap * std::tanh(s / p.logit_softcap);
    score[t] = s;
    largest = std::max(largest, s);
  }
  double sum = 0;
  if (p.sinks && num_keys > 0) {
    largest = std::max(largest, double{p.sinks[head]});
    sum = std::exp(p.sinks[head] - largest);
  }
  std::vector<double> acc(dim, 0.0);
  for (int t = 0; t < num_keys; ++t) {
    const double e = std::exp(score[t] - largest);
    sum += e;
    const double w = rounding.Probability(p.kv.dtype, e);
    const float* v = values.data() + int64_t{first_key + t} * dim;
    for (int d = 0; d < dim; ++d) acc[d] += w * v[d];
  }
  auto* out =
      static_cast<uint8_t*>(p.out) + (token * p.out_token_stride + int64_t{head} * dim) * q_bytes;
  for (int d = 0; d < dim; ++d) {
    const double x = sum > 0 ? acc[d] / sum : 0.0;
    StoreElement(out + d * q_bytes, p.q_dtype, static_cast<float>(x));
  }
}

KernelStatus Run(const PagedAttentionParams& p, const Rounding& rounding) {
  if (!Valid(p)) return KernelStatus::kInvalidArgument;
  const int group = p.num_heads / p.kv.num_kv_heads;
  const int dim = p.kv.head_dim;
  for (int s = 0; s < p.num_seqs; ++s) {
    const int first_token = p.query_start ? p.query_start[s] : s;
    const int query_len = p.query_start ? p.query_start[s + 1] - first_token : 1;
    const int len = p.kv_len[s];
    for (int kv_head = 0; kv_head < p.kv.num_kv_heads; ++kv_head) {
      const KvRows rows(p, s, kv_head);
      std::vector<float> keys(int64_t{len} * dim), values(int64_t{len} * dim);
      for (int t = 0; t < len; ++t) {
        rows.Load(t, false, keys.data() + int64_t{t} * dim);
        rows.Load(t, true, values.data() + int64_t{t} * dim);
      }
      for (int j = 0; j < query_len; ++j) {
        const int position = len - query_len + j;  // keys 0..position are visible
        const int first = p.sliding_window > 0 ? std::max(position - p.sliding_window + 1, 0) : 0;
        const int count = std::max(position + 1 - first, 0);
        for (int g = 0; g < group; ++g) {
          OneRow(p, rounding, first_token + j, kv_head * group + g, first, count, keys, values);
        }
      }
    }
  }
  return KernelStatus::kOk;
}

}  // namespace

KernelStatus PagedAttentionReference(const PagedAttentionParams& p) { return Run(p, {false}); }

KernelStatus PagedAttentionLowPrecision(const PagedAttentionParams& p) { return Run(p, {true}); }

}  // namespace slipstream::kernels
