// One warp per (token, head): the row goes through shared memory as floats, so that rotation pairs
// of either style are at hand, and is stored in the cache's layout.
#include "kernels/cuda/cache/kv_write.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/common/mma.cuh"

namespace slipstream::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kMaxHeadDim = 256;

template <typename T>
__device__ __forceinline__ void LoadRow(const T* row, int head_dim, float* x, int lane) {
  for (int d = lane * 2; d < head_dim; d += 64) {
    const float2 v = Unpack<T>(*reinterpret_cast<const uint32_t*>(row + d));
    x[d] = v.x;
    x[d + 1] = v.y;
  }
  __syncwarp();
}

__device__ void Normalise(float* x, int head_dim, const float* weight, float eps, int lane) {
  float sum = 0;
  for (int d = lane; d < head_dim; d += 32) sum += x[d] * x[d];
  for (int i = 16; i > 0; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
  const float inv = rsqrtf(sum / head_dim + eps);
  for (int d = lane; d < head_dim; d += 32) x[d] *= inv * weight[d];
  __syncwarp();
}

__device__ void Rotate(float* x, const KvWriteParams& p, int position, int lane) {
  const int half = p.rotary_dim / 2;
  const int64_t row = int64_t{position} * half;
  for (int i = lane; i < half; i += 32) {
    const float c = __ldg(p.cos + row + i), s = __ldg(p.sin + row + i);
    const int a = p.rope == RopeStyle::kNeox ? i : 2 * i;
    const int b = p.rope == RopeStyle::kNeox ? i + half : 2 * i + 1;
    const float xa = x[a], xb = x[b];
    x[a] = xa * c - xb * s;
    x[b] = xb * c + xa * s;
  }
  __syncwarp();
}

__device__ void StoreKv(const KvCacheView& kv, int64_t slot, int head, bool value, const float* x,
                        int lane) {
  const int64_t block = slot / kv.block_size;
  const int token = static_cast<int>(slot - block * kv.block_size);
  auto* tile = static_cast<unsigned char*>(value ? kv.v : kv.k) + block * kv.block_stride_bytes +
               head * kv.head_stride_bytes;
  if (kv.dtype == DType::kF8E4M3) {
    const float inv = 1.0f / (value ? kv.v_scale : kv.k_scale);
    for (int d = lane; d < kv.head_dim; d += 32) {
      const int64_t at = value ? ValueByteOffset(kv.layout, token, d, kv.head_dim, 1)
                               : KeyByteOffset(kv.layout, token, d, kv.head_dim, 1);
      tile[at] = static_cast<unsigned char>(PackE4M3(x[d] * inv, 0.0f));
    }
    return;
  }
  for (int d = lane * 2; d < kv.head_dim; d += 64) {
    const int64_t at = KeyByteOffset(kv.layout, token, d, kv.head_dim, 2);
    *reinterpret_cast<uint32_t*>(tile + at) = kv.dtype == DType::kBF16
                                                  ? Pack<__nv_bfloat16>(x[d], x[d + 1])
                                                  : Pack<__half>(x[d], x[d + 1]);
  }
}

template <typename T>
__global__ void __launch_bounds__(32 * kWarps)
    KvWriteKernel(const __grid_constant__ KvWriteParams p) {
  __shared__ float rows[kWarps][kMaxHeadDim];
  const int lane = threadIdx.x % 32;
  float* x = rows[threadIdx.x / 32];
  const int num_heads = p.num_heads + 2 * p.kv.num_kv_heads;
  const int job = blockIdx.x * kWarps + threadIdx.x / 32;
  LaunchDependents();
  DependencyWait();
  if (job >= p.num_tokens * num_heads) return;
  const int token = job / num_heads;
  int head = job % num_heads;
  const int dim = p.kv.head_dim;
  const int position = p.positions ? __ldg(p.positions + token) : 0;
  if (head < p.num_heads) {
    T* q = static_cast<T*>(p.q) + token * p.q_token_stride + int64_t{head} * dim;
    if (!p.q_norm && p.rope == RopeStyle::kNone) return;
    LoadRow(q, dim, x, lane);
    if (p.q_norm) Normalise(x, dim, p.q_norm, p.norm_eps, lane);
    if (p.rope != RopeStyle::kNone) Rotate(x, p, position, lane);
    for (int d = lane * 2; d < dim; d += 64) {
      *reinterpret_cast<uint32_t*>(q + d) = Pack<T>(x[d], x[d + 1]);
    }
    return;
  }
  head -= p.num_heads;
  const int64_t slot = __ldg(p.slot_ids + token);
  if (slot < 0) return;
  const bool value = head >= p.kv.num_kv_heads;
  if (value) head -= p.kv.num_kv_heads;
  const T* row = value ? static_cast<const T*>(p.v) + token * p.v_token_stride
                       : static_cast<const T*>(p.k) + token * p.k_token_stride;
  LoadRow(row + int64_t{head} * dim, dim, x, lane);
  if (!value && p.k_norm) Normalise(x, dim, p.k_norm, p.norm_eps, lane);
  if (!value && p.rope != RopeStyle::kNone) Rotate(x, p, position, lane);
  StoreKv(p.kv, slot, head, value, x, lane);
}

}  // namespace

KernelStatus KvWrite(const KvWriteParams& p, bool dependent_launch, cudaStream_t stream) {
  const KvCacheView& kv = p.kv;
  if (!p.k || !p.v || !kv.k || !kv.v || !p.slot_ids || p.num_tokens < 0 || kv.num_kv_heads < 1 ||
      (p.num_heads > 0 && !p.q) || kv.block_size < 1 ||
      (p.rope != RopeStyle::kNone &&
       (!p.positions || !p.cos || !p.sin || p.rotary_dim < 2 || p.rotary_dim > kv.head_dim))) {
    return KernelStatus::kInvalidArgument;
  }
  const bool cache_ok =
      kv.dtype == DType::kBF16 || kv.dtype == DType::kF16 || kv.dtype == DType::kF8E4M3;
  if (!cache_ok || kv.head_dim % 32 != 0 || kv.head_dim > kMaxHeadDim) {
    return KernelStatus::kUnsupported;
  }
  if (p.num_tokens == 0) return KernelStatus::kOk;
  const int jobs = p.num_tokens * (p.num_heads + 2 * kv.num_kv_heads);
  const LaunchShape shape{dim3((jobs + kWarps - 1) / kWarps), 32 * kWarps, 0, dependent_launch};
  if (p.dtype == DType::kBF16) return LaunchKernel(KvWriteKernel<__nv_bfloat16>, shape, stream, p);
  if (p.dtype == DType::kF16) return LaunchKernel(KvWriteKernel<__half>, shape, stream, p);
  return KernelStatus::kUnsupported;
}

}  // namespace slipstream::kernels
