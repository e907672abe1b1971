// KV write from the formula: normalise, rotate, store one element at a time.
#include "kernels/api/kv_write.h"

#include <cmath>
#include <vector>

#include "kernels/reference/convert.h"

namespace slipstream::kernels {
namespace {

void Normalise(std::vector<float>& x, const float* weight, float eps) {
  if (!weight) return;
  double sum = 0;
  for (float v : x) sum += double{v} * v;
  const double inv = 1.0 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(x[i] * inv * weight[i]);
}

void Rotate(std::vector<float>& x, const KvWriteParams& p, int position) {
  const int half = p.rotary_dim / 2;
  for (int i = 0; p.rope != RopeStyle::kNone && i < half; ++i) {
    const float c = p.cos[int64_t{position} * half + i], s = p.sin[int64_t{position} * half + i];
    const int a = p.rope == RopeStyle::kNeox ? i : 2 * i;
    const int b = p.rope == RopeStyle::kNeox ? i + half : 2 * i + 1;
    const float xa = x[a], xb = x[b];
    x[a] = xa * c - xb * s;
    x[b] = xb * c + xa * s;
  }
}

std::vector<float> LoadRow(const void* base, int64_t at, int dim, DType t) {
  const int bytes = GeometryOf(t).block_bytes;
  std::vector<float> x(dim);
  for (int d = 0; d < dim; ++d) {
    x[d] = LoadElement(static_cast<const uint8_t*>(base) + (at + d) * bytes, t);
  }
  return x;
}

void StoreKv(const KvCacheView& kv, int64_t slot, int head, bool value,
             const std::vector<float>& x) {
  const int bytes = GeometryOf(kv.dtype).block_bytes;
  const int token = static_cast<int>(slot % kv.block_size);
  auto* tile = static_cast<uint8_t*>(value ? kv.v : kv.k) +
               slot / kv.block_size * kv.block_stride_bytes + head * kv.head_stride_bytes;
  const float scale = value ? kv.v_scale : kv.k_scale;
  for (int d = 0; d < kv.head_dim; ++d) {
    const int64_t at = value ? ValueByteOffset(kv.layout, token, d, kv.head_dim, bytes)
                             : KeyByteOffset(kv.layout, token, d, kv.head_dim, bytes);
    StoreElement(tile + at, kv.dtype, kv.dtype == DType::kF8E4M3 ? x[d] / scale : x[d]);
  }
}

}  // namespace

KernelStatus KvWriteReference(const KvWriteParams& p) {
  const int dim = p.kv.head_dim;
  if (!p.k || !p.v || !p.kv.k || !p.kv.v || !p.slot_ids || dim <= 0 || p.num_tokens < 0 ||
      (p.rope != RopeStyle::kNone && (!p.positions || !p.cos || !p.sin || p.rotary_dim > dim))) {
    return KernelStatus::kInvalidArgument;
  }
  const int bytes = GeometryOf(p.dtype).block_bytes;
  for (int t = 0; t < p.num_tokens; ++t) {
    const int position = p.positions ? p.positions[t] : 0;
    for (int h = 0; p.q && h < p.num_heads; ++h) {
      const int64_t at = t * p.q_token_stride + int64_t{h} * dim;
      std::vector<float> x = LoadRow(p.q, at, dim, p.dtype);
      Normalise(x, p.q_norm, p.norm_eps);
      Rotate(x, p, position);
      for (int d = 0; d < dim; ++d) {
        StoreElement(static_cast<uint8_t*>(p.q) + (at + d) * bytes, p.dtype, x[d]);
      }
    }
    if (p.slot_ids[t] < 0) continue;
    for (int h = 0; h < p.kv.num_kv_heads; ++h) {
      std::vector<float> k = LoadRow(p.k, t * p.k_token_stride + int64_t{h} * dim, dim, p.dtype);
      Normalise(k, p.k_norm, p.norm_eps);
      Rotate(k, p, position);
      StoreKv(p.kv, p.slot_ids[t], h, false, k);
      StoreKv(p.kv, p.slot_ids[t], h, true,
              LoadRow(p.v, t * p.v_token_stride + int64_t{h} * dim, dim, p.dtype));
    }
  }
  return KernelStatus::kOk;
}

}  // namespace slipstream::kernels
