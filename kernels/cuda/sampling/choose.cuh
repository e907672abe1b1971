// The draws of the second kernel. Each function is called by the whole CTA and gives every thread
// the token, or -1 where rounding left nothing to draw (which its caller reports).
#pragma once

#include "kernels/api/counter_rng.h"
#include "kernels/cuda/sampling/select.cuh"

namespace slipstream::kernels::sampling {

constexpr int kMaxSortedTopK = 768;   // larger top_k search the row
constexpr int kTopPCandidates = 512;  // top_p usually needs few tokens: it first tries this many

// The mass of thread i's tile among values >= floor; sh.keys keeps those of a floor.
__device__ __forceinline__ Mass MassOfTile(const Context& cx, bool use_floor, float floor) {
  const int tile = threadIdx.x;
  const auto scaled = [&](float tile_max, float sum) {
    if (!(sum > 0)) return Mass{0};
    const double distance = static_cast<double>(tile_max) - cx.max;
    return static_cast<Mass>(sum * exp(distance * cx.inv_temperature) * kUnit);
  };
  if (!use_floor) {
    if (tile >= cx.tiles) return 0;
    return scaled(cx.scratch.tiles[tile].max, cx.scratch.tiles[tile].sum);
  }
  const int lane = threadIdx.x % 32;
  for (int t = threadIdx.x / 32; t < cx.tiles; t += kWarps) {
    const float tile_max = cx.scratch.tiles[t].max;
    float sum = 0;
    if (tile_max >= floor) {
      float v[kGroup];
      cx.Load(t * kGroup + lane, v);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        sum += v[i] >= floor ? WeightOf(v[i], tile_max, cx.inv_temperature) : 0.0f;
      }
      for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    }
    if (lane == 0) cx.sh.keys[t] = scaled(tile_max, sum);
  }
  __syncthreads();
  return tile < cx.tiles ? cx.sh.keys[tile] : 0;
}

// Draws in order of token ids among the values >= floor.
__device__ __forceinline__ int DrawInOrder(const Context& cx, bool use_floor, float floor,
                                           float uniform) {
  BlockShared& sh = cx.sh;
  const Mass mass = MassOfTile(cx, use_floor, floor);
  const Mass through = BlockInclusiveScan(sh, mass);
  if (threadIdx.x == kThreads - 1) sh.answer[0] = through;
  __syncthreads();
  const Mass goal = DrawGoal(sh.answer[0], uniform);
  __syncthreads();
  if (through >= goal && through - mass < goal) {  // one thread
    sh.count = threadIdx.x;
    sh.answer[0] = goal - (through - mass);
    sh.answer[1] = mass;
  }
  __syncthreads();
  // The tile again, entry by entry: its masses as seen from its own maximum, so the goal is scaled
  // to their sum.
  const int tile = sh.count;
  const double part = static_cast<double>(sh.answer[0] - 1) / static_cast<double>(sh.answer[1]);
  const float x = cx.At(tile * kTile + threadIdx.x);
  const Mass entry =
      x >= floor ? MassOf(x, cx.scratch.tiles[tile].max, cx.inv_temperature) : Mass{0};
  return WalkTile(sh, tile, entry, [&](Mass total) {
    return min(static_cast<Mass>(part * static_cast<double>(total)) + 1, total);
  });
}

// Collects the entries >= `bound` into sh.keys, in any order; returns how many
// there are, which may be more than fit.
template <bool kRaw>
__device__ __forceinline__ int Collect(const Context& cx, float bound) {
  BlockShared& sh = cx.sh;
  const float* group_max = kRaw ? cx.scratch.raw_group_max : cx.scratch.group_max;
  if (threadIdx.x == 0) sh.count = 0;
  __syncthreads();
  for (int g = threadIdx.x; g < cx.groups(); g += kThreads) {
    if (!(group_max[g] >= bound)) continue;
    float v[kGroup];
    if constexpr (kRaw) {
      LoadGroup(cx.row, g, v);
    } else {
      cx.Load(g, v);
    }
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      if (!(v[i] >= bound)) continue;
      const int at = atomicAdd(&sh.count, 1);
      if (at < kThreads) sh.keys[at] = KeyOf(v[i], TokenOf(g, i));
    }
  }
  __syncthreads();
  const int count = sh.count;
  __syncthreads();
  return count;
}

// Draws among at most `top_k` entries >= `lowest`, cut at top_p, by searching the row.
__device__ __noinline__ int DrawBySearch(const Context& cx, bool use_top_k, float lowest,
                                         float uniform) {
  const Measure one{cx, true}, mass{cx, false};
  const Bins bins = BinsOf(cx, lowest);
  bool filled;
  Key limit = kNoKey;  // the last entry that top_k keeps
  if (use_top_k) {
    const Mass top_k = static_cast<Mass>(cx.slot.top_k);
    const Mass entries = FillBins(cx, bins, lowest, one);
    if (top_k < entries) limit = FindPlace(cx, bins, lowest, top_k, one, filled).key;
  }
  Mass total = FillBins(cx, bins, lowest, mass);
  if (limit != kNoKey) {
    Mass sum = 0;
    ForEachValue(cx, ValueOf(limit), [&](float v, int token) {
      if (KeyOf(v, token) <= limit) sum += mass(v);
    });
    total = BlockSum(cx.sh, sum);
  }
  if (total < 1) return -1;
  filled = true;
  Mass kept = total;
  if (cx.slot.top_p < 1.0f) {
    kept = FindPlace(cx, bins, lowest, KeepGoal(total, cx.slot.top_p), mass, filled).through;
  }
  if (!filled) FillBins(cx, bins, lowest, mass);
  return TokenOfKey(FindPlace(cx, bins, lowest, DrawGoal(kept, uniform), mass, filled).key);
}

// Draws in order of weight among the top_k largest entries >= floor, cut where top_p is reached.
__device__ __forceinline__ int DrawFromLargest(const Context& cx, const Mode& mode, float floor,
                                               float uniform) {
  BlockShared& sh = cx.sh;
  const int i = threadIdx.x;
  const float reach = fmaxf(cx.max - kReach * cx.slot.temperature, kLowestFinite);
  const float lowest = fmaxf(floor, reach);
  const int wanted = mode.use_top_k ? cx.slot.top_k : kTopPCandidates;
  if (wanted > kMaxSortedTopK) return DrawBySearch(cx, mode.use_top_k, lowest, uniform);
  // As many groups reach the bound, so at least as many entries do.
  const Bound bound = FindBound(sh, cx.scratch.group_max, cx.groups(), lowest, cx.max, wanted);
  int count = Collect<false>(cx, bound.value);
  if (count > kThreads) return DrawBySearch(cx, mode.use_top_k, lowest, uniform);
  const Key key = BlockSort(sh, i < count ? sh.keys[i] : kNoKey, count);
  if (mode.use_top_k) count = min(count, cx.slot.top_k);
  const Mass mass = i < count ? cx.MassAt(ValueOf(key)) : 0;
  const Mass through = BlockInclusiveScan(sh, mass);
  if (i == kThreads - 1) sh.answer[0] = through;
  __syncthreads();
  const Mass sum = sh.answer[0];
  __syncthreads();
  const bool complete = mode.use_top_k || bound.complete;
  Mass kept = sum;
  if (cx.slot.top_p < 1.0f) {
    if (!complete && mode.use_floor) return DrawBySearch(cx, false, lowest, uniform);
    const Mass total = complete ? sum : BlockSum(sh, MassOfTile(cx, false, floor));
    const Mass goal = KeepGoal(total, cx.slot.top_p);
    if (goal > sum) return DrawBySearch(cx, false, lowest, uniform);
    if (through >= goal && through - mass < goal) sh.answer[0] = through;
    __syncthreads();
    kept = sh.answer[0];
    __syncthreads();
  }
  const Mass goal = DrawGoal(kept, uniform);
  if (through >= goal && through - mass < goal) sh.token = TokenOfKey(key);
  __syncthreads();
  const int token = sh.token;
  __syncthreads();
  return token;
}

}  // namespace slipstream::kernels::sampling
