// Exact selection over a whole row, for draws among more entries than are worth sorting: a search
// over the values, best first, for the entry at which the running mass reaches a goal. A histogram
// over the distance to the maximum finds the bin, and the few entries of that bin are sorted. Where
// they are not few (ties), a radix search over the bits of the value takes over.
#pragma once

#include "kernels/cuda/sampling/block.cuh"
#include "kernels/cuda/sampling/row.cuh"

namespace slipstream::kernels::sampling {

// Out of line, through local memory: most rows have no edits, and many places load groups.
__device__ __noinline__ void ApplyEditsInMemory(const Edits& edits, int vocab_size, int group,
                                                bool listed, float (&v)[kGroup]) {
  if (edits.counts) ApplyPenalties(edits, vocab_size, group, v);
  if (listed) ApplyLists(edits, group, v);
  if (edits.allowed) ApplyAllowed(edits, vocab_size, group, v);
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
  // The edited logit of one token.
  __device__ __forceinline__ float At(int token) const {
    if (token >= row.vocab_size) return -kInfinity;
    const bool hit = listed && (listed[token / kTile] >> GroupOf(token) % kGroup & 1);
    return ApplyEditsToOne(edits, token, hit, row.logits[token]);
  }
  __device__ __forceinline__ Mass MassAt(float x) const { return MassOf(x, max, inv_temperature); }
};

// Calls f(value, token) on the entries >= `lowest`, each from one thread.
// REQUIRES: scratch.group_max is filled.
template <typename F>
__device__ __forceinline__ void ForEachValue(const Context& cx, float lowest, F f) {
  for (int g = threadIdx.x; g < cx.groups(); g += kThreads) {
    if (!(cx.scratch.group_max[g] >= lowest)) continue;
    float v[kGroup];
    cx.Load(g, v);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      if (v[i] >= lowest) f(v[i], TokenOf(g, i));
    }
  }
}

// Walks one tile in order of tokens, a token per thread: the token at which the running sum of
// `mass`, each thread's own, reaches goal(sum of all). The goal has to lie in [1, sum].
template <typename F>
__device__ __forceinline__ int WalkTile(BlockShared& sh, int tile, Mass mass, F goal_of) {
  static_assert(kThreads == kTile);
  const Mass through = BlockInclusiveScan(sh, mass);
  if (threadIdx.x == kThreads - 1) sh.total = through;
  __syncthreads();
  const Mass goal = goal_of(sh.total);
  if (through >= goal && through - mass < goal) sh.token = tile * kTile + threadIdx.x;
  __syncthreads();
  const int token = sh.token;
  __syncthreads();
  return token;
}

// Bins of equal width over max - x, best first: monotonic in x, so bins may be taken for ranks.
struct Bins {
  float max, scale;
  __device__ uint32_t Of(float x) const {
    return static_cast<uint32_t>(fminf(__fmul_rn(__fsub_rn(max, x), scale), kBins - 1));
  }
};

// Entries up to kReach temperatures below the maximum are all that weigh anything; rows that span
// less than that get finer bins. The last bin takes the rest.
__device__ __forceinline__ Bins BinsOf(const Context& cx, float lowest) {
  Key least = kNoKey;
  for (int g = threadIdx.x; g < cx.groups(); g += kThreads) {
    const float x = cx.scratch.group_max[g];
    if (x >= lowest) least = min(least, Key{OrderedBits(x)});
  }
  least = BlockMin(cx.sh, least);
  const float span = cx.max - FromOrderedBits(static_cast<uint32_t>(least));
  const float range = fminf(kReach * cx.slot.temperature, 2.0f * span);
  return {cx.max, range > 0 ? kBins / range : 0.0f};
}

__device__ __forceinline__ void ClearBins(BlockShared& sh) {
  for (int i = threadIdx.x; i < kBins; i += kThreads) sh.bin_low[i] = sh.bin_high[i] = 0;
  __syncthreads();
}

__device__ __forceinline__ void AddToBin(BlockShared& sh, uint32_t bin, Mass mass) {
  if (mass == 0) return;
  const uint32_t low = static_cast<uint32_t>(mass);
  const uint32_t old = atomicAdd(&sh.bin_low[bin], low);
  const uint32_t high = static_cast<uint32_t>(mass >> 32) + (old + low < old);
  if (high) atomicAdd(&sh.bin_high[bin], high);
}

__device__ __forceinline__ Mass MassOfBin(const BlockShared& sh, int bin) {
  return static_cast<Mass>(sh.bin_high[bin]) << 32 | sh.bin_low[bin];
}

// What is summed over the entries: their number, or their mass.
struct Measure {
  const Context& cx;
  bool ones;
  __device__ __forceinline__ Mass operator()(float x) const { return ones ? 1 : cx.MassAt(x); }
};

// Fills the histogram; returns the sum over all entries.
__device__ __noinline__ Mass FillBins(const Context& cx, const Bins& bins, float lowest,
                                      const Measure& mass) {
  ClearBins(cx.sh);
  ForEachValue(cx, lowest, [&](float v, int) { AddToBin(cx.sh, bins.Of(v), mass(v)); });
  __syncthreads();
  const int bin = 2 * threadIdx.x;
  return BlockSum(cx.sh, MassOfBin(cx.sh, bin) + MassOfBin(cx.sh, bin + 1));
}

// The bin where the running mass reaches `goal` becomes the next `bits` bits of `prefix`; `before`
// gains the mass of the bins before it.
__device__ __forceinline__ void FindBin(BlockShared& sh, Mass goal, int bits, uint32_t& prefix,
                                        Mass& before) {
  const int bin = 2 * threadIdx.x;
  const Mass a = MassOfBin(sh, bin), b = MassOfBin(sh, bin + 1);
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

// The entry where the running mass reaches a goal, and the running mass with it.
struct Place {
  Key key;
  Mass through;
};

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
  const Mass tile_rank = sh.answer[0];
  __syncthreads();
  if (tile < 0) return -1;
  const bool hit = cx.At(tile * kTile + threadIdx.x) == value;
  return WalkTile(sh, tile, Mass{hit}, [&](Mass) { return tile_rank; });
}

// The radix search: three passes for the value, one more for the token among those that have it.
__device__ __noinline__ Place FindPlaceByRadix(const Context& cx, float lowest, Mass goal,
                                               const Measure& mass) {
  uint32_t prefix = 0;
  Mass before = 0;
#pragma unroll 1
  for (int shift = 21; shift >= 0; shift = shift == 21 ? 10 : shift - 10) {
    const int bits = shift == 0 ? 10 : 11;
    ClearBins(cx.sh);
    ForEachValue(cx, lowest, [&](float v, int) {
      const uint32_t digits = ~OrderedBits(v) >> shift;  // best first
      if (shift < 21 && digits >> bits != prefix) return;
      AddToBin(cx.sh, digits & ((1u << bits) - 1), mass(v));
    });
    __syncthreads();
    FindBin(cx.sh, goal, bits, prefix, before);
  }
  const float value = FromOrderedBits(~prefix);
  const Mass each = mass(value);
  const Mass rank = (goal - before + each - 1) / each;
  return {KeyOf(value, TokenOfTie(cx, value, rank)), before + rank * each};
}

// REQUIRES: the histogram holds `mass` of every value >= `lowest`; 1 <= goal <= its sum.
// `filled`: whether it still does afterwards.
__device__ __noinline__ Place FindPlace(const Context& cx, const Bins& bins, float lowest,
                                        Mass goal, const Measure& mass, bool& filled) {
  BlockShared& sh = cx.sh;
  uint32_t wanted = 0;
  Mass before = 0;
  FindBin(sh, goal, 11, wanted, before);
  if (threadIdx.x == 0) sh.count = 0;
  __syncthreads();
  for (int g = threadIdx.x; g < cx.groups(); g += kThreads) {
    const float group_max = cx.scratch.group_max[g];
    if (!(group_max >= lowest) || bins.Of(group_max) > wanted) continue;
    float v[kGroup];
    cx.Load(g, v);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      if (!(v[i] >= lowest) || bins.Of(v[i]) != wanted) continue;
      const int at = atomicAdd(&sh.count, 1);
      if (at < kThreads) sh.keys[at] = KeyOf(v[i], TokenOf(g, i));
    }
  }
  __syncthreads();
  const int count = sh.count;
  __syncthreads();
  filled = count <= kThreads;
  if (!filled) return FindPlaceByRadix(cx, lowest, goal, mass);
  const Key key = BlockSort(sh, threadIdx.x < count ? sh.keys[threadIdx.x] : kNoKey, count);
  const Mass mine = threadIdx.x < count ? mass(ValueOf(key)) : 0;
  const Mass through = before + BlockInclusiveScan(sh, mine);
  if (through >= goal && through - mine < goal) {  // one thread
    sh.answer[0] = key;
    sh.answer[1] = through;
  }
  __syncthreads();
  const Place place{sh.answer[0], sh.answer[1]};
  __syncthreads();
  return place;
}

}  // namespace slipstream::kernels::sampling
