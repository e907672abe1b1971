// From accumulators to y: a whole tile straight from registers, a tile that several CTAs share
// through global scratch, inside the kernel.
//
// Every word of the scratch is its own message, as in attention/decode_prefetch_merge.cuh: it rests
// at 0xFFFFFFFF, a NaN no arithmetic produces, and one that differs has arrived. The reader puts
// the resting value back. A thread only ever reads what the same thread of other CTAs wrote, so
// there is no fence, no counter and no layout to convert. The sum runs along K: it does not depend
// on who is early.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/gemm/gemm_stream_traits.cuh"

namespace slipstream::kernels {

inline constexpr uint32_t kGemmResting = 0xFFFFFFFFu;

__device__ __forceinline__ uint32_t GemmMessage(float x) {
  const uint32_t u = __float_as_uint(x);
  return u == kGemmResting ? 0x7FFFFFFFu : u;
}

__device__ __forceinline__ void GemmPost(uint4* at, const float* v) {
  asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(at),
               "r"(GemmMessage(v[0])), "r"(GemmMessage(v[1])), "r"(GemmMessage(v[2])),
               "r"(GemmMessage(v[3]))
               : "memory");
}

__device__ __forceinline__ uint4 GemmPoll(const uint4* at) {
  uint4 w;
  asm volatile("ld.relaxed.gpu.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(w.x), "=r"(w.y), "=r"(w.z), "=r"(w.w)
               : "l"(at)
               : "memory");
  return w;
}

__device__ __forceinline__ bool GemmArrived(const uint4& w) {
  return w.x != kGemmResting && w.y != kGemmResting && w.z != kGemmResting && w.w != kGemmResting;
}

// The place of one output tile, and this thread's elements in it: for 64-row block b and group g of
// eight tokens, rows row_ + 64 b and eight further down, tokens token_ + 8 g and one on. Eight
// lanes write eight consecutive outputs of a token.
template <typename Traits>
class TileOutput {
 public:
  using T = typename Traits::T;

  __device__ __forceinline__ TileOutput(const GemmStreamParams& p, int tile, int thread,
                                        const float* = nullptr)
      : p_(p) {
    const int warp = thread / 32, lane = thread % 32;
    // Warpgroup w multiplies rows [w * 64 * kRowBlocks, (w + 1) * 64 * kRowBlocks) of the tile.
    row_ = tile / p.token_tiles * Traits::kTileRows + warp / 4 * 64 * Traits::kRowBlocks +
           warp % 4 * 16 + lane / 4;
    const int first_token = tile % p.token_tiles * Traits::kTokens;
    token_ = first_token + lane % 4 * 2;
    groups_ = (min(p.m - first_token, Traits::kTokens) + 7) / 8;
  }

  // Groups of eight tokens that hold real ones.
  __device__ __forceinline__ int groups() const { return groups_; }

  // What a fused output asks for ahead of a group, and what it does once its groups are written.
  struct Held {};
  __device__ __forceinline__ void Load(int, Held&) const {}
  __device__ __forceinline__ void Finish(int, int) const {}

  // Every accumulator of this thread: a tile that no other CTA has a part of.
  __device__ __forceinline__ void WriteAll(
      const float (&acc)[Traits::kRowBlocks][4 * Traits::kTokenGroups]) const {
#pragma unroll
    for (int b = 0; b < Traits::kRowBlocks; ++b) {
#pragma unroll
      for (int g = 0; g < Traits::kTokenGroups; ++g) {
        if (g < groups_) Write(b, g, &acc[b][4 * g], {});
      }
    }
  }

  __device__ __forceinline__ void Write(int block, int group, const float* v, const Held&) const {
    const int row = row_ + 64 * block;
    int token = token_ + 8 * group;
    // Addresses are worked out one group at a time: all at once, they would not fit in registers
    // beside the accumulators.
    asm volatile("" : "+r"(token)::"memory");
    const int64_t at = token * p_.y_stride + row;
    const bool one = token < p_.m, two = token + 1 < p_.m;
    if (row < p_.n) {
      const float bias = p_.bias ? __ldg(p_.bias + row) : 0.0f;
      if (one) Put(at, v[0] + bias);
      if (two) Put(at + p_.y_stride, v[1] + bias);
    }
    if (row + 8 < p_.n) {
      const float bias = p_.bias ? __ldg(p_.bias + row + 8) : 0.0f;
      if (one) Put(at + 8, v[2] + bias);
      if (two) Put(at + p_.y_stride + 8, v[3] + bias);
    }
  }

 protected:
  __device__ __forceinline__ void Put(int64_t at, float v) const {
    if (p_.y_is_f32) {
      static_cast<float*>(p_.y)[at] = v;
    } else {
      static_cast<T*>(p_.y)[at] = static_cast<T>(v);
    }
  }

  const GemmStreamParams& p_;
  int row_, token_, groups_;
};

// The CTAs `first` to `last`, in the order of K, that hold parts of one tile. The last one may go
// on to other tiles and only gives; for all others the tile is the end of their work, so they
// divide the merge among themselves.
template <typename Traits>
class TileExchange {
 public:
  __device__ TileExchange(const GemmStreamParams& p, int first, int last, int thread)
      : records_(reinterpret_cast<uint4*>(p.records) + thread), first_(first), last_(last) {}

  __device__ __forceinline__ void Give(
      int me, int groups, const float (&acc)[Traits::kRowBlocks][4 * Traits::kTokenGroups]) const {
    uint4* mine = records_ + Place(me);
#pragma unroll
    for (int b = 0; b < Traits::kRowBlocks; ++b) {
#pragma unroll
      for (int g = 0; g < Traits::kTokenGroups; ++g) {
        if (g < groups)
          GemmPost(mine + (b * Traits::kTokenGroups + g) * kGemmConsumers, &acc[b][4 * g]);
      }
    }
  }

  // Sums and writes the groups that fall to `me`. Two groups of four words are in flight.
  template <typename Output>
  __device__ __forceinline__ void Take(int me, const Output& out) const {
    const int groups = out.groups();
    const int mergers = last_ - first_, total = Traits::kRowBlocks * groups;
#pragma unroll 1
    for (int g0 = me - first_; g0 < total; g0 += 2 * mergers) {
      float sum[2][4] = {};
      typename Output::Held held[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        if (g0 + j * mergers < total) out.Load((g0 + j * mergers) % groups, held[j]);
      }
#pragma unroll 1
      for (int c0 = first_; c0 <= last_; c0 += 4) Add(c0, g0, mergers, total, groups, sum);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int g = g0 + j * mergers;
        if (g < total) out.Write(g / groups, g % groups, sum[j], held[j]);
      }
    }
    out.Finish(me - first_, mergers);
  }

 private:
  // A CTA can hold the end of one tile and the start of another: two places, the end first.
  __device__ __forceinline__ int64_t Place(int cta) const {
    return (int64_t{cta} * 2 + (cta == last_ ? 0 : 1)) * (Traits::kGroups * kGemmConsumers);
  }

  // Adds what CTAs c0 to c0 + 3 have of two groups.
  __device__ __forceinline__ void Add(int c0, int g0, int mergers, int total, int groups,
                                      float (&sum)[2][4]) const {
    uint4 w[2][4];
    uint4* at[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int g = g0 + j * mergers;
      at[j] = records_ + (g / groups * Traits::kTokenGroups + g % groups) * kGemmConsumers;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (g < total && c0 + i <= last_) w[j][i] = GemmPoll(at[j] + Place(c0 + i));
      }
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (g0 + j * mergers >= total || c0 + i > last_) continue;
        uint4* word = at[j] + Place(c0 + i);
        // Ends: every CTA of the launch is resident and gives before it takes.
        while (!GemmArrived(w[j][i])) w[j][i] = GemmPoll(word);
        *word = make_uint4(kGemmResting, kGemmResting, kGemmResting, kGemmResting);
        sum[j][0] += __uint_as_float(w[j][i].x), sum[j][1] += __uint_as_float(w[j][i].y);
        sum[j][2] += __uint_as_float(w[j][i].z), sum[j][3] += __uint_as_float(w[j][i].w);
      }
    }
  }

  uint4* records_;
  int first_, last_;
};

}  // namespace slipstream::kernels
