// Exact selection over a whole row, for draws among more entries than can be sorted in shared
// memory: a radix search over the values, best first, for the place where the running mass reaches
// a goal. Nothing is sorted; a search costs three passes over the row.
#pragma once

#include "kernels/cuda/sampling/block.cuh"
#include "kernels/cuda/sampling/row.cuh"

namespace slipstream::kernels::sampling {

// Out of line, through local memory: most rows have no edits, and many places load groups.
__device__ __noinline__ void ApplyEditsInMemory(const Edits& edits, int vocab_size, int group,
                                                bool listed, float (&v)[kGroup]) {
  ApplyEdits(edits, vocab_size, group, listed, v);
}

// What the second kernel knows of its row.
struct Context {
  BlockShared& sh;
  const Row& row;
  const Edits& edits;
  Scratch scratch;
  const SamplingSlot& slot;
  const uint32_t* listed;  // [tiles] bit l: a list names a token of group l; null: no lists
  int tiles;
  float max;  // of the edited row
  float inv_temperature;

  __device__ int groups() const { return tiles * kGroup; }
  __device__ __forceinline__ void Load(int group, float (&v)[kGroup]) const {
    LoadGroup(row, group, v);
    const bool hit = listed && (listed[group / kGroup] >> group % kGroup & 1);
    if (!hit && !edits.counts && !edits.allowed) return;
    float edited[kGroup];
#pragma unroll
    for (int i = 0; i < kGroup; ++i) edited[i] = v[i];
    ApplyEditsInMemory(edits, row.vocab_size, group, hit, edited);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) v[i] = edited[i];
  }
  __device__ __forceinline__ Mass MassAt(float x) const { return MassOf(x, max, inv_temperature); }
};

// Calls f(value) on the values whose OrderedBits reach `lowest`, each from one thread.
// REQUIRES: scratch.group_max is filled.
template <typename F>
__device__ __forceinline__ void ForEachValue(const Context& cx, uint32_t lowest, F f) {
  for (int g = threadIdx.x; g < cx.groups(); g += kThreads) {
    if (OrderedBits(cx.scratch.group_max[g]) < lowest) continue;
    float v[kGroup];
    cx.Load(g, v);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      if (OrderedBits(v[i]) >= lowest) f(v[i]);
    }
  }
}

// Walks one tile in order of tokens: the token at which the running mass reaches `goal`, or -1.
// Whole warp; `mass(i)` is of element i of the lane's group.
template <typename F>
__device__ __forceinline__ int WalkTile(int tile, Mass goal, F mass) {
  const int lane = threadIdx.x % 32;
  Mass before = 0;
  int found = -1;
#pragma unroll
  for (int j = 0; j < kGroup / 4; ++j) {
    Mass part[4], sum = 0;
#pragma unroll
    for (int c = 0; c < 4; ++c) sum += part[c] = mass(4 * j + c);
    Mass scan = sum;
    for (int d = 1; d < 32; d *= 2) {
      const Mass y = __shfl_up_sync(~0u, scan, d);
      if (lane >= d) scan += y;
    }
    Mass at = before + scan - sum;
    if (at < goal && at + sum >= goal) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        at += part[c];
        if (found < 0 && at >= goal) found = TokenOf(tile * kGroup + lane, 4 * j + c);
      }
    }
    before += __shfl_sync(~0u, scan, 31);
  }
  const uint32_t who = __ballot_sync(~0u, found >= 0);
  return who ? __shfl_sync(~0u, found, __ffs(who) - 1) : -1;
}

__device__ __forceinline__ void AddToBin(BlockShared& sh, uint32_t bin, Mass mass) {
  const uint32_t low = static_cast<uint32_t>(mass);
  const uint32_t old = atomicAdd(&sh.bin_low[bin], low);
  const uint32_t high = static_cast<uint32_t>(mass >> 32) + (old + low < old);
  if (high) atomicAdd(&sh.bin_high[bin], high);
}

// The value where the running mass reaches `goal`, and the mass of all better values.
struct Place {
  float value;
  Mass before;
};

// One digit of the search: `prefix` gains `bits` bits.
__device__ __forceinline__ void FindBin(BlockShared& sh, Mass goal, int bits, uint32_t& prefix,
                                        Mass& before) {
  const int bin = 2 * threadIdx.x;
  const Mass a = static_cast<Mass>(sh.bin_high[bin]) << 32 | sh.bin_low[bin];
  const Mass b = static_cast<Mass>(sh.bin_high[bin + 1]) << 32 | sh.bin_low[bin + 1];
  const Mass start = before + BlockInclusiveScan(sh, a + b) - a - b;
  if (start < goal && start + a + b >= goal) {  // one thread
    const bool first = start + a >= goal;
    sh.answer[0] = prefix << bits | (first ? bin : bin + 1);
    sh.answer[1] = first ? start : start + a;
  }
  __syncthreads();
  prefix = static_cast<uint32_t>(sh.answer[0]);
  before = sh.answer[1];
  __syncthreads();
}

// REQUIRES: 1 <= goal <= the sum of mass(value) over the values that reach `lowest`.
template <typename F>
__device__ __forceinline__ Place FindPlace(const Context& cx, uint32_t lowest, Mass goal, F mass) {
  BlockShared& sh = cx.sh;
  uint32_t prefix = 0;
  Mass before = 0;
#pragma unroll 1
  for (int shift = 21; shift >= 0; shift = shift == 21 ? 10 : shift - 10) {
    const int bits = shift == 0 ? 10 : 11;
    for (int i = threadIdx.x; i < kBins; i += kThreads) sh.bin_low[i] = sh.bin_high[i] = 0;
    __syncthreads();
    ForEachValue(cx, lowest, [&](float v) {
      const uint32_t digits = ~OrderedBits(v) >> shift;  // best first
      if (shift < 21 && digits >> bits != prefix) return;
      const Mass m = mass(v);
      if (m) AddToBin(sh, digits & ((1u << bits) - 1), m);
    });
    __syncthreads();
    FindBin(sh, goal, bits, prefix, before);
  }
  return {FromOrderedBits(~prefix), before};
}

// The `rank`-th token, counting from 1, whose value is `value`; -1 if there are fewer.
__device__ __forceinline__ int TokenOfTie(const Context& cx, float value, Mass rank) {
  BlockShared& sh = cx.sh;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float v[kGroup];
  for (int tile = warp; tile < cx.tiles; tile += kWarps) {
    cx.Load(tile * kGroup + lane, v);
    int count = 0;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) count += v[i] == value;
    count = __reduce_add_sync(~0u, count);
    if (lane == 0) sh.keys[tile] = count;
  }
  if (threadIdx.x == 0) sh.count = -1;
  __syncthreads();
  const Mass count = threadIdx.x < cx.tiles ? sh.keys[threadIdx.x] : 0;
  const Mass start = BlockInclusiveScan(sh, count) - count;
  if (start < rank && start + count >= rank) {
    sh.count = threadIdx.x;
    sh.answer[0] = rank - start;
  }
  __syncthreads();
  const int tile = sh.count;
  if (warp == 0) {
    int token = -1;
    if (tile >= 0) {
      cx.Load(tile * kGroup + lane, v);
      token = WalkTile(tile, sh.answer[0], [&](int i) { return Mass{v[i] == value}; });
    }
    if (lane == 0) sh.token = token;
  }
  __syncthreads();
  const int token = sh.token;
  __syncthreads();
  return token;
}

}  // namespace slipstream::kernels::sampling
