// The epilogues of gemm_stream_sm90 (gemm_epilogue.h) on the accumulators of a tile or on the
// merged sums of a shared one, inside the kernel. One tile of tokens, so a token is its column.
//
// Sums of squares go from lanes to warps to the CTA in a fixed order: two rows of a thread, eight
// lanes, eight warps. A group of eight tokens of a tile is merged by one CTA, which therefore sees
// all of its 128 rows.
#pragma once

#include <type_traits>

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/gemm/gemm_stream_merge.cuh"
#include "kernels/cuda/ops/activate.cuh"

namespace slipstream::kernels {

// All multiplying warps; barrier 0 is the one of the whole CTA.
__device__ __forceinline__ void ConsumerSync() {
  asm volatile("bar.sync 1, %0;" ::"n"(kGemmConsumers) : "memory");
}

// What an earlier kernel wrote: read from L2, never from an L1 that was filled before the
// dependency resolved, and never moved ahead of the wait for it.
__device__ __forceinline__ float LoadFromL2(const float* at) {
  float x;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(x) : "l"(at) : "memory");
  return x;
}

__device__ __forceinline__ float LoadScratch(const float* at) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(SharedAddress(at)) : "memory");
  return x;
}

// s of every token. The partials are asked for with the first tokens and summed by warps; the rest
// waits until a tile is done. Nothing where the epilogue has no scale.
template <typename Traits>
class TokenScale {
 public:
  static constexpr bool kUsed = Traits::kFused && !Traits::kResidual;
  static constexpr int kSums = 256;  // scratch: sums of the warps, then the scales

  // REQUIRES: the dependency has resolved.
  __device__ __forceinline__ TokenScale(const GemmStreamParams& p, float* scratch, int thread)
      : p_(p), scratch_(scratch), thread_(thread) {
    if constexpr (kUsed) {
      if (p.epilogue.partials_in) Gather();
    }
  }

  // Before a tile is written; every multiplying thread. Again for every tile: a flag would take a
  // register from the accumulators.
  __device__ __forceinline__ void Finish() const {
    if constexpr (kUsed) {
      ConsumerSync();
      if (thread_ < Traits::kTokens) {
        float scale = 1.0f;
        if (p_.epilogue.partials_in) {
          float sum = 0;
#pragma unroll 1
          for (int i = 0; i < kRows; ++i) sum += scratch_[i * Traits::kTokens + thread_];
          scale = rsqrtf(sum * p_.inverse_columns + p_.epilogue.eps);
        }
        scratch_[kSums + thread_] = scale;
      }
      ConsumerSync();
    }
  }

 private:
  static constexpr int kSlices = kGemmConsumers / Traits::kTokens;  // threads of a token
  static constexpr int kWide = Traits::kTokens > 32 ? Traits::kTokens : 32;
  static constexpr int kRows = kGemmConsumers / kWide;  // sums of a token that are left

  __device__ __forceinline__ void Gather() {
    constexpr int kAhead = 8;
    const int token = thread_ % Traits::kTokens;
    const float* at = p_.epilogue.partials_in + token;
    float sum = 0;
#pragma unroll 1
    for (int t0 = thread_ / Traits::kTokens; t0 < p_.partials; t0 += kAhead * kSlices) {
      float x[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int t = t0 + i * kSlices;
        x[i] = 0;
        if (t < p_.partials && token < p_.m) x[i] = LoadFromL2(at + int64_t{t} * p_.m);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) sum += x[i];
    }
#pragma unroll
    for (int i = Traits::kTokens; i < 32; i *= 2) sum += __shfl_xor_sync(~0u, sum, i);
    if (thread_ % 32 < Traits::kTokens) {
      scratch_[thread_ / kWide * Traits::kTokens + token] = sum;
    }
  }

  const GemmStreamParams& p_;
  float* scratch_;
  int thread_;
};

// kScale and kGated: every sum by itself.
template <typename Traits>
class ScaledOutput : public TileOutput<Traits> {
 public:
  using typename TileOutput<Traits>::Held;

  __device__ __forceinline__ ScaledOutput(const GemmStreamParams& p, int tile, int thread,
                                          const float* scratch)
      : TileOutput<Traits>(p, tile, thread), scale_(scratch + TokenScale<Traits>::kSums) {}

  __device__ __forceinline__ void WriteAll(
      const float (&acc)[Traits::kRowBlocks][4 * Traits::kTokenGroups]) const {
#pragma unroll
    for (int b = 0; b < Traits::kRowBlocks; ++b) {
#pragma unroll
      for (int g = 0; g < Traits::kTokenGroups; ++g) {
        if (g < this->groups_) Write(b, g, &acc[b][4 * g], {});
      }
    }
  }

  __device__ __forceinline__ void Write(int block, int group, const float* v, const Held&) const {
    const GemmStreamParams& p = this->p_;
    int row = this->row_ + 64 * block, token = this->token_ + 8 * group;
#pragma unroll
    for (int e = 0; e < 2; ++e, ++token) {
      if (token >= p.m) break;
      asm volatile("" : "+r"(token), "+r"(row)::"memory");  // as in TileOutput::Write
      const float scale = LoadScratch(scale_ + token);
      const int64_t at = token * p.y_stride;
      if constexpr (Traits::kEpilogue == GemmEpilogueKind::kGated) {
        // n is a multiple of 16 and row % 16 < 8: both rows exist or neither does.
        if (row >= p.n) break;
        const float gate = Activate(scale * v[e] + Bias(row), p.epilogue.gelu_tanh);
        this->Put(at + (row >> 4) * 8 + (row & 7), gate * (scale * v[2 + e] + Bias(row + 8)));
      } else {
        if (row < p.n) this->Put(at + row, scale * v[e] + Bias(row));
        if (row + 8 < p.n) this->Put(at + row + 8, scale * v[2 + e] + Bias(row + 8));
      }
    }
  }

 private:
  __device__ __forceinline__ float Bias(int row) const {
    return this->p_.bias ? __ldg(this->p_.bias + row) : 0.0f;
  }

  const float* scale_;
};

// kResidualNorm: the sums join the residual stream, whose squares are summed per token.
template <typename Traits>
class ResidualOutput : public TileOutput<Traits> {
 public:
  struct Held {
    float x[4];
  };

  __device__ __forceinline__ ResidualOutput(const GemmStreamParams& p, int tile, int thread,
                                            float* scratch)
      : TileOutput<Traits>(p, tile, thread), scratch_(scratch), tile_(tile), thread_(thread) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = this->row_ + 8 * h;
      weight_[h] = row < p.n ? __ldg(p.epilogue.norm_weight + row) : 0.0f;
      bias_[h] = p.bias && row < p.n ? __ldg(p.bias + row) : 0.0f;
    }
  }

  // Asks for the residual of a group.
  __device__ __forceinline__ void Load(int group, Held& held) const {
    const GemmStreamParams& p = this->p_;
    int token = this->token_ + 8 * group;
    asm volatile("" : "+r"(token)::"memory");
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = this->row_ + i / 2 * 8, t = token + i % 2;
      held.x[i] = 0;
      if (row < p.n && t < p.m) {
        held.x[i] = LoadFromL2(p.epilogue.residual + t * p.epilogue.residual_stride + row);
      }
    }
  }

  __device__ __forceinline__ void WriteAll(
      const float (&acc)[Traits::kRowBlocks][4 * Traits::kTokenGroups]) const {
    Held held[2];
    Load(0, held[0]);
#pragma unroll
    for (int g = 0; g < Traits::kTokenGroups; ++g) {
      if (g >= this->groups_) break;
      if (g + 1 < Traits::kTokenGroups && g + 1 < this->groups_) Load(g + 1, held[(g + 1) % 2]);
      Write(0, g, &acc[0][4 * g], held[g % 2]);
    }
    Finish(0, 1);
    ConsumerSync();  // the next tile writes the scratch again
  }

  // REQUIRES: whole warps; block 0, as there is only one.
  __device__ __forceinline__ void Write(int, int group, const float* v, const Held& held) const {
    const GemmStreamParams& p = this->p_;
    int token = this->token_ + 8 * group;
    asm volatile("" : "+r"(token)::"memory");  // as in TileOutput::Write
    float squares[2] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int h = i / 2, e = i % 2, row = this->row_ + 8 * h, t = token + e;
      if (row >= p.n || t >= p.m) continue;
      const float x = held.x[i] + (v[i] + bias_[h]);
      p.epilogue.residual[t * p.epilogue.residual_stride + row] = x;
      this->Put(t * p.y_stride + row, x * weight_[h]);
      squares[e] += x * x;
    }
#pragma unroll
    for (int i = 4; i < 32; i *= 2) {
      squares[0] += __shfl_xor_sync(~0u, squares[0], i);
      squares[1] += __shfl_xor_sync(~0u, squares[1], i);
    }
    if (thread_ % 32 < 4) {
      float* sums = scratch_ + thread_ / 32 * Traits::kTokens + this->token_ + 8 * group;
      sums[0] = squares[0];
      sums[1] = squares[1];
    }
  }

  // The groups first, first + step, ... of this tile were written by this CTA.
  __device__ __forceinline__ void Finish(int first, int step) const {
    ConsumerSync();
    const int token = thread_, group = token / 8 - first;
    if (token >= this->p_.m || group < 0 || group % step != 0) return;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kGemmConsumers / 32; ++w) sum += scratch_[w * Traits::kTokens + token];
    this->p_.epilogue.partials_out[int64_t{tile_} * this->p_.m + token] = sum;
  }

 private:
  float* scratch_;
  int tile_, thread_;
  float weight_[2], bias_[2];
};

template <typename Traits>
using TileOutputOf = std::conditional_t<
    !Traits::kFused, TileOutput<Traits>,
    std::conditional_t<Traits::kResidual, ResidualOutput<Traits>, ScaledOutput<Traits>>>;

}  // namespace slipstream::kernels
