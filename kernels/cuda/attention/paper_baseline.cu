// See paper_baseline.h. Written from the algorithm as arXiv 2504.06319 and the paged attention
// paper (2309.06180) describe it; deliberately without anything that later kernels do better.
#include "kernels/cuda/attention/paper_baseline.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/common/mma.cuh"

namespace slipstream::kernels {
namespace {

constexpr int kHeadDim = 128;
constexpr int kBlockTokens = 16;
constexpr int kTileElems = kHeadDim * kBlockTokens;  // one block of one head: 4 KB
constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kKeyVectors = 16;  // 8-byte vectors of keys per thread: half a token
constexpr int kRowsPerThread = 8;

__device__ __forceinline__ float WarpReduce(float x, bool maximum) {
  for (int i = 16; i > 0; i /= 2) {
    const float y = __shfl_xor_sync(~0u, x, i);
    x = maximum ? fmaxf(x, y) : x + y;
  }
  return x;
}

__device__ float CtaReduce(float x, bool maximum, float* scratch) {
  x = WarpReduce(x, maximum);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  float y = scratch[0];
  for (int w = 1; w < kWarps; ++w) y = maximum ? fmaxf(y, scratch[w]) : y + scratch[w];
  return y;
}

// The paper's change: after the loads of this iteration, one lane asks L2 for the next block of the
// same warp. The current block is in registers by then, so nothing useful is evicted.
template <bool kPrefetch>
__device__ __forceinline__ void PrefetchNext(const void* base, const int32_t* table, int block,
                                             int num_blocks, int heads, int head, int lane) {
  if (!kPrefetch || lane != 0 || block + kWarps >= num_blocks) return;
  const int64_t tile = int64_t{table[block + kWarps]} * heads + head;
  BulkPrefetchL2(reinterpret_cast<uint64_t>(base) + tile * kTileElems * 2, kTileElems * 2);
}

template <typename T, bool kPrefetch>
__device__ float Scores(const PaperBaselineParams& p, const int32_t* table, int kv_len, int kv_head,
                        const float* query, float* score) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int token = lane / 2, half = lane % 2;  // two lanes share a token
  const int num_blocks = (kv_len + kBlockTokens - 1) / kBlockTokens;
  float largest = -INFINITY;
  for (int block = warp; block < num_blocks; block += kWarps) {
    const T* keys = static_cast<const T*>(p.k) +
                    (int64_t{table[block]} * p.num_kv_heads + kv_head) * kTileElems;
    uint2 k[kKeyVectors];
#pragma unroll
    for (int i = 0; i < kKeyVectors; ++i) {
      k[i] = *reinterpret_cast<const uint2*>(keys + (i * kBlockTokens + token) * 8 + half * 4);
    }
    PrefetchNext<kPrefetch>(p.k, table, block, num_blocks, p.num_kv_heads, kv_head, lane);
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kKeyVectors; ++i) {
      const float* q = query + i * 8 + half * 4;
      const float2 a = Unpack<T>(k[i].x), b = Unpack<T>(k[i].y);
      dot += a.x * q[0] + a.y * q[1] + b.x * q[2] + b.y * q[3];
    }
    dot += __shfl_xor_sync(~0u, dot, 1);
    const int t = block * kBlockTokens + token;
    if (t < kv_len) {
      largest = fmaxf(largest, dot * p.scale);
      if (half == 0) score[t] = dot * p.scale;
    }
  }
  return largest;
}

template <typename T, bool kPrefetch>
__device__ void Values(const PaperBaselineParams& p, const int32_t* table, int kv_len, int kv_head,
                       const float* score, float (&acc)[kRowsPerThread]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int num_blocks = (kv_len + kBlockTokens - 1) / kBlockTokens;
  for (int block = warp; block < num_blocks; block += kWarps) {
    const T* values = static_cast<const T*>(p.v) +
                      (int64_t{table[block]} * p.num_kv_heads + kv_head) * kTileElems;
    uint4 v[kRowsPerThread];
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      const int d = i * 16 + lane / 2;
      v[i] = *reinterpret_cast<const uint4*>(values + d * kBlockTokens + lane % 2 * 8);
    }
    PrefetchNext<kPrefetch>(p.v, table, block, num_blocks, p.num_kv_heads, kv_head, lane);
    const int t0 = block * kBlockTokens + lane % 2 * 8;
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      const uint32_t words[4] = {v[i].x, v[i].y, v[i].z, v[i].w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float2 x = Unpack<T>(words[j]);
        const int t = t0 + 2 * j;
        if (t < kv_len) acc[i] += score[t] * x.x;
        if (t + 1 < kv_len) acc[i] += score[t + 1] * x.y;
      }
    }
  }
}

template <typename T, bool kPrefetch>
__global__ void __launch_bounds__(kThreads) PaperBaselineKernel(PaperBaselineParams p) {
  extern __shared__ float score[];
  __shared__ float query[kHeadDim];
  __shared__ float scratch[kWarps];
  __shared__ float partial[kWarps][kHeadDim];
  const int head = blockIdx.x, seq = blockIdx.y, thread = threadIdx.x;
  const int warp = thread / 32, lane = thread % 32;
  const int kv_len = p.kv_len[seq];
  const int kv_head = head / (p.num_heads / p.num_kv_heads);
  const int32_t* table = p.block_tables + int64_t{seq} * p.max_blocks;
  const int64_t row = (int64_t{seq} * p.num_heads + head) * kHeadDim;
  query[thread] = static_cast<float>(static_cast<const T*>(p.q)[row + thread]);
  __syncthreads();

  const float largest =
      CtaReduce(Scores<T, kPrefetch>(p, table, kv_len, kv_head, query, score), true, scratch);
  float sum = 0;
  for (int t = thread; t < kv_len; t += kThreads) {
    score[t] = __expf(score[t] - largest);
    sum += score[t];
  }
  sum = CtaReduce(sum, false, scratch);

  float acc[kRowsPerThread] = {};
  Values<T, kPrefetch>(p, table, kv_len, kv_head, score, acc);
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    acc[i] += __shfl_xor_sync(~0u, acc[i], 1);
    if (lane % 2 == 0) partial[warp][i * 16 + lane / 2] = acc[i];
  }
  __syncthreads();
  float out = 0;
  for (int w = 0; w < kWarps; ++w) out += partial[w][thread];
  static_cast<T*>(p.out)[row + thread] = static_cast<T>(kv_len > 0 ? out / sum : 0.0f);
}

template <typename T, bool kPrefetch>
KernelStatus Launch(const PaperBaselineParams& p, cudaStream_t stream) {
  const auto kernel = PaperBaselineKernel<T, kPrefetch>;
  static const cudaError_t opted_in =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 200 * 1024);
  if (opted_in != cudaSuccess) return KernelStatus::kLaunchFailed;
  const LaunchShape shape{dim3(p.num_heads, p.num_seqs), kThreads, (p.max_kv_len + 15) / 16 * 64,
                          false};
  return LaunchKernel(kernel, shape, stream, p);
}

}  // namespace

KernelStatus PaperBaseline(const PaperBaselineParams& p, bool prefetch, cudaStream_t stream) {
  if (!p.q || !p.out || !p.k || !p.v || !p.block_tables || !p.kv_len || p.num_seqs < 1 ||
      p.num_kv_heads < 1 || p.num_heads % p.num_kv_heads != 0) {
    return KernelStatus::kInvalidArgument;
  }
  if (p.max_kv_len > 50000) return KernelStatus::kUnsupported;
  if (p.dtype == DType::kF16) {
    return prefetch ? Launch<__half, true>(p, stream) : Launch<__half, false>(p, stream);
  }
  if (p.dtype == DType::kBF16) {
    return prefetch ? Launch<__nv_bfloat16, true>(p, stream)
                    : Launch<__nv_bfloat16, false>(p, stream);
  }
  return KernelStatus::kUnsupported;
}

}  // namespace slipstream::kernels
