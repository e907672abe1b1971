// Online softmax of prefill attention on the score fragment of one warpgroup. A thread holds parts
// of two rows, h = 0 and 1, eight apart; the four lanes of a quad share them.
#pragma once

#include "kernels/cuda/attention/prefill_sm90_params.h"
#include "kernels/cuda/attention/prefill_sm90_traits.cuh"

namespace slipstream::kernels {

__device__ __forceinline__ float PrefillExp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float QuadMax(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ __forceinline__ float QuadSum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// What the rows of a warpgroup see: those of this thread exactly, all of them for whole tiles.
struct RowSight {
  int position[2];      // this thread's rows
  int lowest, highest;  // of the warpgroup
  int window;           // 0: all
  int column;           // this thread's first column of each eight

  // Whether some row does not see some token of [begin, end).
  __device__ __forceinline__ bool Partial(int begin, int end) const {
    return end > lowest + 1 || (window > 0 && begin <= highest - window);
  }
};

template <typename Traits>
class PrefillSoftmax {
 public:
  static constexpr int kBlocks = Traits::kTile / 8;  // of eight columns
  using Scores = float[Traits::kTile / 2];
  using Probabilities = uint32_t[Traits::kTile / 4];

  __device__ __forceinline__ void Begin() {
    max_[0] = max_[1] = -INFINITY;
    sum_[0] = sum_[1] = 0;
  }

  // Scores of a tile to unnormalised probabilities; `partial` if some are not visible.
  __device__ __forceinline__ void Tile(const PrefillParams& p, const RowSight& sight, int token0,
                                       bool partial, Scores& s) {
    if constexpr (Traits::kSoftcap) Cap(p, s);
    if (partial) Mask(sight, token0, s);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float a = max_[h], b = -INFINITY;
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        a = fmaxf(a, s[4 * j + 2 * h]);
        b = fmaxf(b, s[4 * j + 2 * h + 1]);
      }
      const float largest = QuadMax(fmaxf(a, b));
      const float base = Base(largest, p.score_scale);
      factor_[h] = PrefillExp2(max_[h] * p.score_scale - base);
      max_[h] = largest;
      a = b = 0;
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        float& x = s[4 * j + 2 * h];
        float& y = s[4 * j + 2 * h + 1];
        x = PrefillExp2(fmaf(x, p.score_scale, -base));
        y = PrefillExp2(fmaf(y, p.score_scale, -base));
        a += x;
        b += y;
      }
      sum_[h] = sum_[h] * factor_[h] + (a + b);
    }
  }

  // A number that depends on all probabilities of the last tile.
  __device__ __forceinline__ float AnySum() const { return sum_[0] + sum_[1]; }

  // What outputs of earlier tiles have to be multiplied with.
  __device__ __forceinline__ float factor(int h) const { return factor_[h]; }

  // The factor that normalises row h. `sink`: the head's extra logit, -infinity for none.
  __device__ __forceinline__ float Normaliser(const PrefillParams& p, int h, float sink) const {
    const float extra = PrefillExp2(sink * 1.4426950408889634f - Base(max_[h], p.score_scale));
    const float sum = QuadSum(sum_[h]) + extra;
    return sum > 0 ? 1.0f / sum : 0.0f;
  }

  // Score fragment to the A operands of the second product, four registers for 16 tokens.
  static __device__ __forceinline__ void Round(const Scores& s, Probabilities& out) {
#pragma unroll
    for (int i = 0; i < Traits::kTile / 4; ++i) {
      out[i] = Pack<typename Traits::T>(s[2 * i], s[2 * i + 1]);
    }
  }

 private:
  // Rows that have seen nothing yet must not give -infinity minus -infinity.
  static __device__ __forceinline__ float Base(float largest, float scale) {
    return largest == -INFINITY ? 0.0f : largest * scale;
  }

  static __device__ __forceinline__ void Cap(const PrefillParams& p, Scores& s) {
#pragma unroll
    for (int i = 0; i < Traits::kTile / 2; ++i) {
      // tanh x = 1 - 2 / (e^2x + 1), saturating at both ends.
      const float e = PrefillExp2(s[i] * p.cap_scale);
      s[i] = 1.0f - __fdividef(2.0f, e + 1.0f);
    }
  }

  static __device__ __forceinline__ void Mask(const RowSight& sight, int token0, Scores& s) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int last = sight.position[h] - token0 - sight.column;
      const int first = sight.window > 0 ? last - sight.window + 1 : -Traits::kTile;
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int at = 8 * j + e;
          if (at > last || at < first) s[4 * j + 2 * h + e] = -INFINITY;
        }
      }
    }
  }

  float max_[2], sum_[2], factor_[2];
};

}  // namespace slipstream::kernels
