// The first kernel: a warp per tile, the tile in registers, nothing shared between warps.
#pragma once

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/sampling/number.cuh"
#include "kernels/cuda/sampling/row.cuh"

namespace slipstream::kernels::sampling {

constexpr int kScanWarps = 4;  // at most: few rows spread over more CTAs

// Largest value of the warp's tile, +inf if it holds a NaN.
__device__ __forceinline__ float MaxOfTile(const float (&v)[kGroup], float& group_max) {
  float m = v[0];
  bool nan = false;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    m = fmaxf(m, v[i]);
    nan |= v[i] != v[i];
  }
  group_max = m;
  for (int d = 16; d > 0; d /= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, d));
  return __any_sync(~0u, nan) ? kInfinity : m;
}

__device__ __forceinline__ int ArgmaxOfTile(const float (&v)[kGroup], int group, float max) {
  int first = INT32_MAX;
#pragma unroll
  for (int i = kGroup - 1; i >= 0; --i) {
    if (v[i] == max) first = TokenOf(group, i);
  }
  return __reduce_min_sync(~0u, first);
}

__device__ __forceinline__ float SumOfTile(const float (&v)[kGroup], float max,
                                           float inv_temperature) {
  float part[4] = {};
#pragma unroll
  for (int i = 0; i < kGroup; ++i) part[i % 4] += WeightOf(v[i], max, inv_temperature);
  float sum = (part[0] + part[1]) + (part[2] + part[3]);
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
  return sum;
}

__device__ __forceinline__ bool IsFinite(float x) { return x > -kInfinity && x < kInfinity; }

__global__ void __launch_bounds__(32 * kScanWarps)
    ScanKernel(const __grid_constant__ SampleTokensParams p) {
  LaunchDependents();
  DependencyWait();
  const int tile = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
  const int index = blockIdx.y, vocab_size = p.state.vocab_size;
  if (tile >= TilesOf(vocab_size)) return;
  const SampleTask task = p.tasks[index];
  if (task.slot < 0 || task.slot >= p.state.num_slots) return;
  const int group = tile * kGroup + lane;
  const Row row(p, task);
  const Scratch scratch = ScratchOf(p, index);
  const SamplingSlot slot = p.state.slots[task.slot];
  const Edits edits(p, index, task.slot, slot);
  float v[kGroup], group_max;
  LoadGroup(row, group, v);
  TileStats stats{};
  if (task.target >= 0 || task.num_top >= 0) {
    stats.raw_max = MaxOfTile(v, group_max);
    if (IsFinite(stats.raw_max)) stats.raw_sum = SumOfTile(v, stats.raw_max, 1.0f);
    scratch.raw_group_max[group] = group_max;
  }
  if (task.target < 0) {
    const Mode mode(slot, vocab_size);
    ApplyEdits(edits, vocab_size, group, true, v);
    stats.max = MaxOfTile(v, group_max);
    stats.argmax = ArgmaxOfTile(v, group, stats.max);
    if (mode.need_sum && IsFinite(stats.max)) {
      stats.sum = SumOfTile(v, stats.max, 1.0f / slot.temperature);
    }
    if (mode.largest) scratch.group_max[group] = group_max;
  }
  if (lane == 0) scratch.tiles[tile] = stats;
}

}  // namespace slipstream::kernels::sampling
