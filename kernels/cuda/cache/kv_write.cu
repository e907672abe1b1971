// Rows of the usual shapes stay in registers (kv_write_registers.cuh). For the others one warp per
// (token, head): the row goes through shared memory as floats, so that rotation pairs of either
// style are at hand, and is stored in the cache's layout.
#include "kernels/cuda/cache/kv_write.h"

#include "kernels/cuda/cache/kv_write_registers.cuh"
#include "kernels/cuda/common/launch.h"

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

bool Aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Whether every row can be read and written in chunks of eight elements, and rotated in them.
bool FitsChunks(const KvWriteParams& p) {
  const KvCacheView& kv = p.kv;
  const bool rotates = p.rope != RopeStyle::kNone;
  const bool aligned = Aligned16(p.q) && Aligned16(p.k) && Aligned16(p.v) && Aligned16(kv.k) &&
                       Aligned16(kv.v) && Aligned16(p.q_norm) && Aligned16(p.k_norm) &&
                       (!rotates || (Aligned16(p.cos) && Aligned16(p.sin)));
  const int64_t strides = p.q_token_stride | p.k_token_stride | p.v_token_stride;
  return aligned && kv.block_size > 1 && strides % 8 == 0 && kv.block_stride_bytes % 16 == 0 &&
         kv.head_stride_bytes % 16 == 0 && (!rotates || p.rotary_dim % 16 == 0);
}

template <typename T, int kHeadDim>
KernelStatus LaunchRegisters(const KvWriteParams& p, bool dependent, cudaStream_t stream) {
  constexpr int kRows = KvRowShape<kHeadDim>::kRowsPerCta;
  constexpr int64_t kOneWave = 1024;  // CTAs of this size that an H100 has room for, roughly
  const int heads = p.num_heads + 2 * p.kv.num_kv_heads;
  const dim3 grid(p.num_tokens, (heads + kRows - 1) / kRows);
  const KvWriteJob job{p.rope == RopeStyle::kNone ? 0 : p.rotary_dim / 16,
                       int64_t{grid.x} * grid.y <= kOneWave, FastDivisor(p.kv.block_size),
                       1.0f / p.kv.k_scale, 1.0f / p.kv.v_scale};
  const LaunchShape shape{grid, kKvWriteThreads, 0, dependent};
  if (p.q_norm || p.k_norm) {
    return LaunchBeside<KvWriteRegisterKernel<T, kHeadDim, true>>(shape, stream, p, job);
  }
  return LaunchBeside<KvWriteRegisterKernel<T, kHeadDim, false>>(shape, stream, p, job);
}

template <typename T>
KernelStatus Launch(const KvWriteParams& p, bool dependent, cudaStream_t stream) {
  if (FitsChunks(p)) {
    switch (p.kv.head_dim) {
      case 64:
        return LaunchRegisters<T, 64>(p, dependent, stream);
      case 96:
        return LaunchRegisters<T, 96>(p, dependent, stream);
      case 128:
        return LaunchRegisters<T, 128>(p, dependent, stream);
      case 256:
        return LaunchRegisters<T, 256>(p, dependent, stream);
      default:
        break;
    }
  }
  const int64_t jobs = int64_t{p.num_tokens} * (p.num_heads + 2 * p.kv.num_kv_heads);
  if (jobs > INT32_MAX - kWarps) return KernelStatus::kUnsupported;
  const LaunchShape shape{dim3(static_cast<unsigned>((jobs + kWarps - 1) / kWarps)), 32 * kWarps, 0,
                          dependent};
  return LaunchBeside<KvWriteKernel<T>>(shape, stream, p);
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
  if (p.dtype == DType::kBF16) return Launch<__nv_bfloat16>(p, dependent_launch, stream);
  if (p.dtype == DType::kF16) return Launch<__half>(p, dependent_launch, stream);
  return KernelStatus::kUnsupported;
}

}  // namespace slipstream::kernels
