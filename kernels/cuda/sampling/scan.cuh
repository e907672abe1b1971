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

// ApplyLists by a whole warp: each lane reads its share of the lists, all apply what is found.
__device__ __forceinline__ void ApplyListsOfTile(const Edits& e, int tile, float (&v)[kGroup]) {
  const int lane = threadIdx.x % 32, group = tile * kGroup + lane;
  const int entries = e.num_bias + e.num_stops;
  for (int base = 0; base < entries; base += 32) {
    const int n = base + lane;
    LogitBias mine{-1, 0.0f};
    if (n < e.num_bias) {
      mine = e.bias[n];
    } else if (n < entries) {
      mine.token = e.stops[n - e.num_bias];
    }
    uint32_t hits = __ballot_sync(~0u, mine.token >= 0 && mine.token / kTile == tile);
    for (; hits != 0; hits &= hits - 1) {
      const int from = __ffs(hits) - 1;
      const int token = __shfl_sync(~0u, mine.token, from);
      const float bias = __shfl_sync(~0u, mine.bias, from);
      const bool is_stop = base + from >= e.num_bias;
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        if (TokenOf(group, i) == token) v[i] = is_stop ? -kInfinity : __fadd_rn(v[i], bias);
      }
    }
  }
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
    if (edits.counts) ApplyPenalties(edits, vocab_size, group, v);
    ApplyListsOfTile(edits, tile, v);
    if (edits.allowed) ApplyAllowed(edits, vocab_size, group, v);
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
