// Logprob, rank and the best tokens of a raw row: what the second kernel reports of its token.
#pragma once

#include "kernels/cuda/sampling/choose.cuh"

namespace slipstream::kernels::sampling {

// Tokens that come before `token` when sorted by value descending, id ascending, plus 1.
__device__ __forceinline__ int RankOf(const Context& cx, int token) {
  const float value = cx.row.logits[token];
  int before = 0;
  for (int g = threadIdx.x; g < cx.groups(); g += kThreads) {
    if (!(cx.scratch.raw_group_max[g] >= value)) continue;
    float v[kGroup];
    LoadGroup(cx.row, g, v);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      before += v[i] > value || (v[i] == value && TokenOf(g, i) < token);
    }
  }
  return static_cast<int>(BlockSum(cx.sh, static_cast<Mass>(before))) + 1;
}

// The best entry after `last`, where too many are equal for the sort.
__device__ __forceinline__ Key NextBest(const Context& cx, Key last, bool first) {
  Key best = kNoKey;
  for (int g = threadIdx.x; g < cx.groups(); g += kThreads) {
    float v[kGroup];
    LoadGroup(cx.row, g, v);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const int token = TokenOf(g, i);
      const Key key = KeyOf(v[i], token);
      if (token < cx.row.vocab_size && (first || key > last)) best = min(best, key);
    }
  }
  return BlockMin(cx.sh, best);
}

// Thread i < num_top gets the i-th best entry.
__device__ __forceinline__ Key BestOf(const Context& cx, float raw_max, int num_top) {
  BlockShared& sh = cx.sh;
  const Bound bound =
      FindBound(sh, cx.scratch.raw_group_max, cx.groups(), kLowestFinite, raw_max, num_top);
  const int count = Collect<true>(cx, bound.value);
  if (count >= num_top && count <= kThreads) {
    return BlockSort(sh, threadIdx.x < count ? sh.keys[threadIdx.x] : kNoKey, count);
  }
  // Very many ties, or so few finite entries that -inf has to be listed.
  Key mine = kNoKey, last = 0;
  for (int i = 0; i < num_top; ++i) {
    last = NextBest(cx, last, i == 0);
    if (threadIdx.x == i) mine = last;
  }
  return mine;
}

// Fills all of `out` but the token. False for a row that is not finite.
__device__ __noinline__ bool Report(const Context& cx, int token, int num_top,
                                    SampledTokenRecord* out) {
  BlockShared& sh = cx.sh;
  const int i = threadIdx.x;
  const float tile_max = i < cx.tiles ? cx.scratch.tiles[i].raw_max : -kInfinity;
  const float max = ValueOf(BlockMin(sh, KeyOf(tile_max, 0)));
  if (!(max > -kInfinity && max < kInfinity)) return false;
  double sum = 0;
  if (tile_max > -kInfinity) {
    sum = cx.scratch.tiles[i].raw_sum * exp(static_cast<double>(tile_max) - max);
  }
  const double log_sum = log(BlockSum(sh, sum));
  const auto logprob = [&](float x) {
    return static_cast<float>(static_cast<double>(x) - max - log_sum);
  };
  const int rank = RankOf(cx, token);
  if (i == 0) {
    out->logprob = logprob(cx.row.logits[token]);
    out->rank = rank;
  }
  num_top = min(min(num_top, kMaxTopLogprobs), cx.row.vocab_size);
  if (num_top <= 0) return true;
  const Key key = BestOf(cx, max, num_top);
  if (i < num_top) {
    out->top_token[i] = TokenOfKey(key);
    out->top_logprob[i] = logprob(ValueOf(key));
  }
  return true;
}

}  // namespace slipstream::kernels::sampling
