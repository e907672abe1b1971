// Per token: normalise and rotate the q and k heads in place, then write k and v to the cache.
#include "kernels/cpu/kernels.h"

namespace slipstream::kernels::SLIP_ISA {
namespace {

void NormHead(float* head, int64_t n, const float* weight, float eps) {
  F32x16 squares = Zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    const F32x16 v = LoadN(head + i, n - i);
    squares = Fma(v, v, squares);
  }
  const float mean = ReduceAdd(squares) / static_cast<float>(n);
  const F32x16 scale = Set1(1.0f / __builtin_sqrtf(mean + eps));
  for (int64_t i = 0; i < n; i += kLanes) {
    const F32x16 v = Mul(LoadN(head + i, n - i), scale);
    StoreN(head + i, Mul(v, LoadN(weight + i, n - i)), n - i);
  }
}

void RotateHalves(float* head, int64_t half, const float* cos, const float* sin) {
  for (int64_t i = 0; i < half; i += kLanes) {
    const int64_t left = half - i;
    const F32x16 a = LoadN(head + i, left), b = LoadN(head + half + i, left);
    const F32x16 c = LoadN(cos + i, left), s = LoadN(sin + i, left);
    StoreN(head + i, Sub(Mul(a, c), Mul(b, s)), left);
    StoreN(head + half + i, Add(Mul(b, c), Mul(a, s)), left);
  }
}

void RotatePairs(float* head, int64_t half, const float* cos, const float* sin) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[2 * i], b = head[2 * i + 1];
    head[2 * i] = a * cos[i] - b * sin[i];
    head[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

// n <= 16 floats in the cache's dtype.
SLIP_INLINE void Narrow(DType dtype, const float* x, int64_t n, uint16_t* out) {
  if (dtype == DType::kF16) {
    StoreF16(out, LoadN(x, n));
  } else {
    StoreBf16(out, LoadN(x, n));
  }
}

// K goes down a column of its transposed tile.
void WriteK(const CpuKvView& kv, int64_t tile, int64_t slot, const float* k) {
  const int64_t step = kv.block_size;
  if (kv.dtype == DType::kF32) {
    float* out = static_cast<float*>(kv.k) + tile + slot;
    for (int64_t i = 0; i < kv.head_dim; ++i) out[i * step] = k[i];
    return;
  }
  uint16_t* out = static_cast<uint16_t*>(kv.k) + tile + slot;
  for (int64_t i = 0; i < kv.head_dim; i += kLanes) {
    uint16_t lanes[kLanes];
    const int64_t n = MinOf(kLanes, kv.head_dim - i);
    Narrow(kv.dtype, k + i, n, lanes);
    for (int64_t j = 0; j < n; ++j) out[(i + j) * step] = lanes[j];
  }
}

void WriteV(const CpuKvView& kv, int64_t tile, int64_t slot, const float* v) {
  const int64_t at = tile + slot * kv.head_dim;
  for (int64_t i = 0; i < kv.head_dim; i += kLanes) {
    const int64_t n = MinOf(kLanes, kv.head_dim - i);
    if (kv.dtype == DType::kF32) {
      StoreN(static_cast<float*>(kv.v) + at + i, LoadN(v + i, n), n);
    } else {
      uint16_t lanes[kLanes];
      Narrow(kv.dtype, v + i, n, lanes);
      __builtin_memcpy(static_cast<uint16_t*>(kv.v) + at + i, lanes, static_cast<size_t>(n) * 2);
    }
  }
}

}  // namespace

void RopeKv(const RopeKvParams& p, Part part) {
  const Range tokens = SplitWork(p.num_tokens, part);
  const int64_t hd = p.kv.head_dim, half = p.rotary_dim / 2;
  const int64_t heads = p.num_heads, kv_heads = p.kv.num_kv_heads;
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    float* row = p.qkv + t * (heads + 2 * kv_heads) * hd;
    const int64_t angle = static_cast<int64_t>(p.positions[t]) * half;
    for (int64_t h = 0; h < heads + kv_heads; ++h) {
      const float* norm = h < heads ? p.q_norm : p.k_norm;
      if (norm != nullptr) NormHead(row + h * hd, hd, norm, p.eps);
      if (p.cos == nullptr) continue;
      if (p.interleaved) {
        RotatePairs(row + h * hd, half, p.cos + angle, p.sin + angle);
      } else {
        RotateHalves(row + h * hd, half, p.cos + angle, p.sin + angle);
      }
    }
    if (p.slot_ids[t] < 0) continue;
    const int64_t block = p.slot_ids[t] / p.kv.block_size, slot = p.slot_ids[t] % p.kv.block_size;
    for (int64_t h = 0; h < kv_heads; ++h) {
      const int64_t tile = block * p.kv.block_stride + h * p.kv.head_stride;
      WriteK(p.kv, tile, slot, row + (heads + h) * hd);
      WriteV(p.kv, tile, slot, row + (heads + kv_heads + h) * hd);
    }
  }
}

}  // namespace slipstream::kernels::SLIP_ISA
