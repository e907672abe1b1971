// KV write of rows that stay in registers. A (token, head) belongs to 4 to 16 neighbouring lanes; a
// lane holds two chunks of eight elements, chosen so that both ends of each rotation pair are its
// own. Every access is 16 bytes wide (8 into an 8-bit cache), no shared memory is used, and what
// the kernel before does not write is read while that one ends: after it come one read, arithmetic
// and one write. Device code.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/api/kv_write.h"
#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/mma.cuh"

namespace slipstream::kernels {

constexpr int kKvWriteThreads = 128;

// Who holds what of a row of kHeadDim elements.
template <int kHeadDim>
struct KvRowShape {
  static constexpr int kLanes = kHeadDim <= 64 ? 4 : kHeadDim <= 128 ? 8 : 16;
  static constexpr int kBusyLanes = kHeadDim / 16;
  static constexpr int kRowsPerCta = kKvWriteThreads / kLanes;
  static_assert(kHeadDim % 16 == 0 && kBusyLanes <= kLanes);
};

// Quotients of numbers below 2^31 by a product: multiplier = ceil(2^(32 + shift) / divisor), where
// 2^shift < divisor <= 2^(shift + 1), is too large by less than one part in 2^31.
struct FastDivisor {
  // REQUIRES: divisor >= 2.
  explicit FastDivisor(uint32_t divisor) {
    while (uint64_t{2} << shift < divisor) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << (32 + shift)) + divisor - 1) / divisor);
  }
  __device__ __forceinline__ int Quotient(int x) const {
    return static_cast<int>(__umulhi(static_cast<uint32_t>(x), multiplier) >> shift);
  }
  uint32_t multiplier;
  int shift = 0;
};

struct KvWriteJob {
  int rotary_lanes;          // lanes of a row that rotate: rotary_dim / 16, or 0
  bool angles_ahead;         // read them before the wait; else beside the row
  FastDivisor block_size;    // tokens of a block
  float k_factor, v_factor;  // stored value = real value * factor; used by 8-bit caches
};

__device__ __forceinline__ void LoadConstants(const float* at, float (&x)[8]) {
  const float4 a = __ldg(reinterpret_cast<const float4*>(at));
  const float4 b = __ldg(reinterpret_cast<const float4*>(at) + 1);
  x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
  x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}

template <typename T>
__device__ __forceinline__ void UnpackEight(const uint4& raw, float (&x)[8]) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = Unpack<T>(words[i]);
    x[2 * i] = pair.x;
    x[2 * i + 1] = pair.y;
  }
}

template <typename T>
__device__ __forceinline__ uint4 PackEight(const float (&x)[8]) {
  return make_uint4(Pack<T>(x[0], x[1]), Pack<T>(x[2], x[3]), Pack<T>(x[4], x[5]),
                    Pack<T>(x[6], x[7]));
}

__device__ __forceinline__ void TurnPair(float& a, float& b, float c, float s) {
  const float x = a, y = b;
  a = x * c - y * s;
  b = y * c + x * s;
}

// x: chunks `lane` and `lane + rotary_lanes` of a row (neox), or 2 lane and 2 lane + 1.
__device__ __forceinline__ void RotateChunks(float (&x)[2][8], const float (&cos)[8],
                                             const float (&sin)[8], bool neox) {
  if (neox) {
#pragma unroll
    for (int e = 0; e < 8; ++e) TurnPair(x[0][e], x[1][e], cos[e], sin[e]);
    return;
  }
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    TurnPair(x[e / 4][e % 4 * 2], x[e / 4][e % 4 * 2 + 1], cos[e], sin[e]);
  }
}

// RMS norm over the lanes of a row. REQUIRES: the whole warp; lanes without elements hold zeros.
template <int kHeadDim>
__device__ __forceinline__ void NormaliseChunks(float (&x)[2][8], const float (&weight)[2][8],
                                                float eps, bool wanted) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 16; ++i) sum += x[i / 8][i % 8] * x[i / 8][i % 8];
#pragma unroll
  for (int i = KvRowShape<kHeadDim>::kLanes / 2; i > 0; i /= 2) {
    sum += __shfl_xor_sync(~0u, sum, i);
  }
  if (!wanted) return;
  const float inv = rsqrtf(sum / kHeadDim + eps);
#pragma unroll
  for (int i = 0; i < 16; ++i) x[i / 8][i % 8] *= inv * weight[i / 8][i % 8];
}

template <int kHeadDim>
__device__ __forceinline__ void StoreCacheChunk(const KvCacheView& kv, unsigned char* tile,
                                                int token, bool transposed, int chunk, float factor,
                                                const float (&x)[8]) {
  const int d = 8 * chunk;
  if (kv.dtype != DType::kF8E4M3) {
    *reinterpret_cast<uint4*>(tile + KeyByteOffset(kv.layout, token, d, kHeadDim, 2)) =
        kv.dtype == DType::kBF16 ? PackEight<__nv_bfloat16>(x) : PackEight<__half>(x);
    return;
  }
  uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) pairs[i] = PackE4M3(x[2 * i] * factor, x[2 * i + 1] * factor);
  if (transposed) {  // the elements of a token lie 16 bytes apart
    unsigned char* at = tile + ValueByteOffset(kv.layout, token, d, kHeadDim, 1);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      at[16 * e] = static_cast<unsigned char>(pairs[e / 2] >> (e % 2 * 8));
    }
    return;
  }
  *reinterpret_cast<uint2*>(tile + KeyByteOffset(kv.layout, token, d, kHeadDim, 1)) =
      make_uint2(pairs[0] | pairs[1] << 16, pairs[2] | pairs[3] << 16);
}

// Grid: (tokens, heads of q, k and v by kRowsPerCta).
// REQUIRES: pointers and rows 16-byte aligned; rotary_dim a multiple of 16; slots below 2^31 (no
// card holds more tokens); a norm weight only with kNorm.
template <typename T, int kHeadDim, bool kNorm>
__global__ void __launch_bounds__(kKvWriteThreads)
    KvWriteRegisterKernel(const __grid_constant__ KvWriteParams p, const KvWriteJob job) {
  using Shape = KvRowShape<kHeadDim>;
  LaunchDependents();
  const int token = blockIdx.x, lane = threadIdx.x % Shape::kLanes;
  const int head = blockIdx.y * Shape::kRowsPerCta + threadIdx.x / Shape::kLanes;
  const int kv_heads = p.kv.num_kv_heads, kv_head = head - p.num_heads;
  const bool query = kv_head < 0, value = kv_head >= kv_heads;
  const bool exists = kv_head < 2 * kv_heads && lane < Shape::kBusyLanes;
  const bool turns = exists && !value && lane < job.rotary_lanes;
  const float* norm = !kNorm || !exists || value ? nullptr : query ? p.q_norm : p.k_norm;

  // Constants of the step, all on their way before the first is used.
  const int position = turns ? __ldg(p.positions + token) : 0;
  const int64_t slot = exists && !query ? __ldg(p.slot_ids + token) : 0;
  const bool pairs_apart = p.rope == RopeStyle::kNeox && lane < job.rotary_lanes;
  const int chunk[2] = {pairs_apart ? lane : 2 * lane,
                        pairs_apart ? lane + job.rotary_lanes : 2 * lane + 1};
  float weight[2][8], cos[8], sin[8];
  if (kNorm && norm) {
    LoadConstants(norm + 8 * chunk[0], weight[0]);
    LoadConstants(norm + 8 * chunk[1], weight[1]);
  }
  const auto load_angles = [&] {
    const int64_t at = int64_t{position} * (8 * job.rotary_lanes) + 8 * lane;
    LoadConstants(p.cos + at, cos);
    LoadConstants(p.sin + at, sin);
  };
  if (turns && job.angles_ahead) load_angles();
  const int kv_row = value ? kv_head - kv_heads : kv_head;
  T* q = static_cast<T*>(p.q) + token * p.q_token_stride + int64_t{head} * kHeadDim;
  const T* row = query   ? q
                 : value ? static_cast<const T*>(p.v) + token * p.v_token_stride
                         : static_cast<const T*>(p.k) + token * p.k_token_stride;
  if (!query) row += int64_t{kv_row} * kHeadDim;

  DependencyWait();
  // Not asked of the slot, which may still be on its way.
  const bool reads = exists & (!query | turns | (norm != nullptr));
  uint4 raw[2] = {};
  if (reads) {
    raw[0] = __ldcg(reinterpret_cast<const uint4*>(row) + chunk[0]);
    raw[1] = __ldcg(reinterpret_cast<const uint4*>(row) + chunk[1]);
  }
  if (turns && !job.angles_ahead) load_angles();
  float x[2][8];
  UnpackEight<T>(raw[0], x[0]);
  UnpackEight<T>(raw[1], x[1]);
  if constexpr (kNorm) NormaliseChunks<kHeadDim>(x, weight, p.norm_eps, norm != nullptr);
  if (!reads || slot < 0) return;
  if (turns) RotateChunks(x, cos, sin, p.rope == RopeStyle::kNeox);
  if (query) {
    reinterpret_cast<uint4*>(q)[chunk[0]] = PackEight<T>(x[0]);
    reinterpret_cast<uint4*>(q)[chunk[1]] = PackEight<T>(x[1]);
    return;
  }
  const int block = job.block_size.Quotient(static_cast<int>(slot));
  const int in_block = static_cast<int>(slot) - block * p.kv.block_size;
  auto* tile = static_cast<unsigned char*>(value ? p.kv.v : p.kv.k) +
               block * p.kv.block_stride_bytes + kv_row * p.kv.head_stride_bytes;
  const bool transposed = value && p.kv.layout == KvLayout::kSwizzled;
  const float factor = value ? job.v_factor : job.k_factor;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    StoreCacheChunk<kHeadDim>(p.kv, tile, in_block, transposed, chunk[i], factor, x[i]);
  }
}

}  // namespace slipstream::kernels
