// Reductions, scans, a sort and a search over a CTA of kThreads threads. Every thread of the CTA
// calls each function, with whatever it has; results are the same in every thread unless said
// otherwise. Each function may follow any other without a barrier in between.
#pragma once

#include <cstdint>

#include "kernels/cuda/sampling/number.cuh"

namespace slipstream::kernels::sampling {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kBins = 2048;

struct BlockShared {
  Mass warp_values[kWarps];
  int warp_counts[2][kWarps];
  Key keys[kThreads];
  uint32_t bin_low[kBins], bin_high[kBins];  // a histogram of masses in two words
  Mass answer[2];
  Mass total;
  int count;
  int token;
};

__device__ __forceinline__ Mass BlockInclusiveScan(BlockShared& sh, Mass x) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int d = 1; d < 32; d *= 2) {
    const Mass y = __shfl_up_sync(~0u, x, d);
    if (lane >= d) x += y;
  }
  if (lane == 31) sh.warp_values[warp] = x;
  __syncthreads();
  Mass sums = sh.warp_values[lane];
  for (int d = 1; d < 32; d *= 2) {
    const Mass y = __shfl_up_sync(~0u, sums, d);
    if (lane >= d) sums += y;
  }
  const Mass before = __shfl_sync(~0u, sums, (warp + 31) % 32);
  __syncthreads();
  return warp == 0 ? x : x + before;
}

__device__ __forceinline__ Mass BlockSum(BlockShared& sh, Mass x) {
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  if (threadIdx.x % 32 == 0) sh.warp_values[threadIdx.x / 32] = x;
  __syncthreads();
  x = sh.warp_values[threadIdx.x % 32];
  __syncthreads();
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  return x;
}

__device__ __forceinline__ double BlockSum(BlockShared& sh, double x) {
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  if (threadIdx.x % 32 == 0) {
    sh.warp_values[threadIdx.x / 32] = static_cast<Mass>(__double_as_longlong(x));
  }
  __syncthreads();
  x = __longlong_as_double(static_cast<long long>(sh.warp_values[threadIdx.x % 32]));
  __syncthreads();
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  return x;
}

__device__ __forceinline__ Key BlockMin(BlockShared& sh, Key x) {
  for (int d = 16; d > 0; d /= 2) x = min(x, __shfl_xor_sync(~0u, x, d));
  if (threadIdx.x % 32 == 0) sh.warp_values[threadIdx.x / 32] = x;
  __syncthreads();
  x = sh.warp_values[threadIdx.x % 32];
  __syncthreads();
  for (int d = 16; d > 0; d /= 2) x = min(x, __shfl_xor_sync(~0u, x, d));
  return x;
}

// One barrier only. REQUIRES: `turn` alternates between 0 and 1 over consecutive calls, and another
// barrier lies between two such sequences of calls.
__device__ __forceinline__ int BlockCount(BlockShared& sh, int count, int turn) {
  const int of_warp = __reduce_add_sync(~0u, count);
  if (threadIdx.x % 32 == 0) sh.warp_counts[turn][threadIdx.x / 32] = of_warp;
  __syncthreads();
  return __reduce_add_sync(~0u, sh.warp_counts[turn][threadIdx.x % 32]);
}

// Sorts the first `count` threads' keys ascending (bitonic, Batcher 1968); thread i ends up with
// the i-th. REQUIRES: count <= kThreads; threads from `count` on bring kNoKey.
__device__ __forceinline__ Key BlockSort(BlockShared& sh, Key key, int count) {
  const int i = threadIdx.x;
  int size = 32;
  while (size < count) size *= 2;
  for (int k = 2; k <= size; k *= 2) {
    for (int j = k / 2; j > 0; j /= 2) {
      if (j >= 32) {
        __syncthreads();
        sh.keys[i] = key;
        __syncthreads();
      }
      if (i >= size) continue;  // whole warps
      const Key other = j >= 32 ? sh.keys[i ^ j] : __shfl_xor_sync(~0u, key, j);
      const bool ascending = (i & k) == 0, lower = (i & j) == 0;
      key = ascending == lower ? min(key, other) : max(key, other);
    }
  }
  __syncthreads();
  return key;
}

// A lower bound of the `wanted`-th largest of x[0..n), tight enough, if that takes few steps, that
// not many more than `wanted` values reach it; `complete`: it is `lowest`, below which it never
// goes. REQUIRES: lowest <= max, and no value is above `max`.
struct Bound {
  float value;
  bool complete;
};
__device__ __forceinline__ Bound FindBound(BlockShared& sh, const float* x, int n, float lowest,
                                           float max, int wanted) {
  constexpr int kMaxSteps = 40;
  const int enough = wanted + wanted / 4 + 16;
  int turn = 0;
  const auto reaching = [&](float bound) {
    int count = 0;
    for (int i = threadIdx.x; i < n; i += kThreads) count += x[i] >= bound;
    turn ^= 1;
    return BlockCount(sh, count, turn);
  };
  __syncthreads();
  int count = reaching(lowest);
  if (count <= enough) return {lowest, true};
  // Doubles the distance to the maximum until enough values are in reach, then halves the interval.
  float low = lowest, high = max;
  int step = 0;
  for (float distance = 1; max - distance > lowest && step < kMaxSteps; distance *= 2, ++step) {
    const float at = max - distance;
    const int reach = reaching(at);
    if (reach >= wanted) {
      low = at;
      count = reach;
      break;
    }
    high = at;
  }
  for (; count > enough && step < kMaxSteps; ++step) {
    const float middle = 0.5f * low + 0.5f * high;
    if (!(middle > low && middle < high)) break;
    const int reach = reaching(middle);
    if (reach >= wanted) {
      low = middle;
      count = reach;
    } else {
      high = middle;
    }
  }
  return {low, low == lowest};
}

}  // namespace slipstream::kernels::sampling
