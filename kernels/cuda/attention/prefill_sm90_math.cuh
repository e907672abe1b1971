// The math side of prefill attention: one warpgroup's 64 query rows of a work item.
//
//   S[rows, tokens] = Q K^T   both from shared memory, K-major
//   O[rows, dim]   += P V     P from registers: the score fragment is already an A operand;
//                             V from shared memory, MN-major
// Per tile: the scores of this tile and the output of the tile before are issued together, then the
// softmax of this tile runs while the tensor cores work on that output. With two warpgroups taking
// turns (named barriers) one's softmax also covers the other's products.
#pragma once

#include "kernels/cuda/attention/prefill_sm90_params.h"
#include "kernels/cuda/attention/prefill_sm90_softmax.cuh"
#include "kernels/cuda/attention/prefill_sm90_traits.cuh"

namespace slipstream::kernels {

// Named barriers; 0 is __syncthreads.
inline constexpr int kTurnBarrier = 1;  // + warpgroup: its turn to issue products
inline constexpr int kValuesBarrier = 3;

template <int kThreads>
__device__ __forceinline__ void NamedBarrierSync(int id) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(kThreads) : "memory");
}
template <int kThreads>
__device__ __forceinline__ void NamedBarrierArrive(int id) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "n"(kThreads) : "memory");
}

// Transposes a 4 x 4 matrix of registers held by a quad, one column per lane.
__device__ __forceinline__ void QuadTranspose(uint32_t (&r)[4], int lane) {
#pragma unroll
  for (int step = 1; step <= 2; ++step) {
    const bool high = (lane & step) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & step) != 0) continue;
      const uint32_t got = __shfl_xor_sync(~0u, high ? r[i] : r[i | step], step);
      (high ? r[i] : r[i | step]) = got;
    }
  }
}

template <typename Traits>
class PrefillMath {
 public:
  using T = typename Traits::T;
  using Softmax = PrefillSoftmax<Traits>;
  static constexpr int kTile = Traits::kTile;
  static constexpr int kUnused = 16;  // a K-major operand's distance between atoms

  // `warpgroup`: 0 or 1, the same value for all its threads.
  __device__ __forceinline__ PrefillMath(const PrefillParams& p,
                                         const PrefillShared<Traits>& shared, int warpgroup)
      : p_(p),
        shared_(shared),
        warpgroup_(warpgroup),
        thread_(threadIdx.x % 128),
        query_(MatrixDescriptor(shared.query + warpgroup * (Traits::kQueryBytes / 2),
                                Traits::kAtomRowBytes, kUnused, Traits::kGroupBytes)),
        keys_(MatrixDescriptor(shared.keys, Traits::kAtomRowBytes, kUnused, Traits::kGroupBytes)),
        values_(MatrixDescriptor(shared.values, Traits::kAtomRowBytes, Traits::kAtomBytes,
                                 Traits::kGroupBytes)) {}

  // `done`: tiles of earlier items; `parity` of the barrier that says the queries are there.
  __device__ __forceinline__ void Run(const PrefillItem& item, uint32_t done, uint32_t parity) {
    const RowSight sight = SightOf(item);
    const int last = item.tile_end - 1, count = item.tile_end - item.tile_begin;
#pragma unroll
    for (int part = 0; part < Traits::kParts; ++part) {
#pragma unroll
      for (int i = 0; i < Traits::kPartDim / 2; ++i) out_[part][i] = 0;
    }
    softmax_.Begin();
    BarrierWait(shared_.QueryFull(), parity);
    FirstTile(item, sight, last, TileSlot<Traits>(done));
    if (count == 1) Free(shared_.QueryEmpty());
#pragma unroll 1
    for (int j = 1; j < count; ++j) {
      NextTile(sight, last - j, TileSlot<Traits>(done + j), TileSlot<Traits>(done + j - 1),
               j + 1 == count);
    }
    const TileSlot<Traits> slot(done + count - 1);
    BarrierWait(shared_.ValuesFull(slot.stage), slot.parity);
    IssueOutput(slot.stage);
    WgmmaWait<0>();
    FenceOutput();
    Free(shared_.ValuesEmpty(slot.stage));
    Write(item);
  }

 private:
  __device__ __forceinline__ int RowOf(const PrefillItem& item, int h) const {
    return item.first_row + warpgroup_ * 64 + thread_ / 32 * 16 + thread_ % 32 / 4 + 8 * h;
  }

  // Rows beyond the sequence count as its last one.
  __device__ __forceinline__ RowSight SightOf(const PrefillItem& item) const {
    const int position0 = item.kv_len - item.query_len;
    const int last_row = item.query_len * p_.group - 1;
    auto position = [&](int row) { return position0 + min(row, last_row) / p_.group; };
    const int first_row = item.first_row + warpgroup_ * 64;
    return {{position(RowOf(item, 0)), position(RowOf(item, 1))},
            position(first_row),
            position(first_row + 63),
            p_.sliding_window,
            thread_ % 4 * 2};
  }

  __device__ __forceinline__ void Free(uint32_t barrier) const {
    if (thread_ % 32 == 0) BarrierArrive(barrier);
  }

  __device__ __forceinline__ void FirstTile(const PrefillItem& item, const RowSight& sight,
                                            int tile, const TileSlot<Traits>& slot) {
    BarrierWait(shared_.KeysFull(slot.stage), slot.parity);
    IssueScores(slot.stage);
    WgmmaWait<0>();
    FenceRegisters(score_);
    Free(shared_.KeysEmpty(slot.stage));
    const int token0 = tile * kTile;
    softmax_.Tile(p_, sight, token0, sight.Partial(token0, token0 + kTile), score_);
    // The end of the sequence lies in the first tile or in none.
    if (item.kv_len < token0 + kTile) ClearValues(slot, item.kv_len - token0);
    Softmax::Round(score_, probability_);
  }

  // Scores of one tile and output of the tile before it.
  __device__ __forceinline__ void NextTile(const RowSight& sight, int tile,
                                           const TileSlot<Traits>& slot,
                                           const TileSlot<Traits>& before, bool last) {
    BarrierWait(shared_.KeysFull(slot.stage), slot.parity);
    if constexpr (Traits::kPingPong) NamedBarrierSync<256>(kTurnBarrier + warpgroup_);
    IssueScores(slot.stage);
    BarrierWait(shared_.ValuesFull(before.stage), before.parity);
    IssueOutput(before.stage);
    if constexpr (Traits::kPingPong) NamedBarrierArrive<256>(kTurnBarrier + (warpgroup_ ^ 1));
    WgmmaWait<1>();
    FenceRegisters(score_);
    Free(shared_.KeysEmpty(slot.stage));
    if (last) Free(shared_.QueryEmpty());
    const int token0 = tile * kTile;
    softmax_.Tile(p_, sight, token0, sight.Partial(token0, token0 + kTile), score_);
    PinOrder(softmax_.AnySum());
    WgmmaWait<0>();
    FenceRegisters(probability_);
    FenceOutput();
    Free(shared_.ValuesEmpty(before.stage));
    Softmax::Round(score_, probability_);
    Rescale();
  }

  // The assembler moves a wait for wgmma before arithmetic that precedes it; then softmax and
  // products would take turns instead of overlapping. It keeps the order of memory accesses and
  // waits: this store needs the whole softmax, and is never made, since sums are not negative.
  __device__ __forceinline__ void PinOrder(float sum) const {
    asm volatile("{.reg .pred p; setp.lt.f32 p, %1, 0f00000000; @p st.shared.f32 [%0], %1;}" ::"r"(
                     shared_.Scratch()),
                 "f"(sum)
                 : "memory");
  }

  __device__ __forceinline__ void IssueScores(int stage) {
    WgmmaFence();
    const uint64_t keys = keys_ + stage * (Traits::kTileBytes >> 4);
#pragma unroll
    for (int k = 0; k < Traits::kHeadDim / 16; ++k) {
      const int step = Traits::ByteOffset(k * 32) >> 4;
      if (k == 0) {
        Wgmma<T, kTile>::template Shared<false>(score_, query_ + step, keys + step);
      } else {
        Wgmma<T, kTile>::template Shared<true>(score_, query_ + step, keys + step);
      }
    }
    WgmmaCommit();
  }

  __device__ __forceinline__ void IssueOutput(int stage) {
    FenceRegisters(probability_);
    FenceOutput();
    WgmmaFence();
    const uint64_t values = values_ + stage * (Traits::kTileBytes >> 4);
#pragma unroll
    for (int t = 0; t < kTile / 16; ++t) {
#pragma unroll
      for (int part = 0; part < Traits::kParts; ++part) {
        const int step =
            (t * Traits::kPieceBytes + Traits::ByteOffset(part * Traits::kPartDim * 2)) >> 4;
        Wgmma<T, Traits::kPartDim>::Accumulate(out_[part], probability_ + 4 * t, values + step);
      }
    }
    WgmmaCommit();
  }

  __device__ __forceinline__ void FenceOutput() {
#pragma unroll
    for (int part = 0; part < Traits::kParts; ++part) FenceRegisters(out_[part]);
  }

  __device__ __forceinline__ void Rescale() {
#pragma unroll
    for (int part = 0; part < Traits::kParts; ++part) {
#pragma unroll
      for (int i = 0; i < Traits::kPartDim / 2; ++i) out_[part][i] *= softmax_.factor(i >> 1 & 1);
    }
  }

  // Slots past the end may hold anything, NaN too, and 0 * NaN is NaN. Both warpgroups, which have
  // the same tiles, clear half of them each.
  __device__ __forceinline__ void ClearValues(const TileSlot<Traits>& slot, int valid) const {
    BarrierWait(shared_.ValuesFull(slot.stage), slot.parity);
    constexpr int kChunks = Traits::kRowBytes / 16;
    for (int x = warpgroup_ * 128 + thread_; x < (kTile - valid) * kChunks; x += 256) {
      const uint32_t at = shared_.Values(slot.stage) + Traits::RowOffset(valid + x / kChunks) +
                          Traits::ByteOffset(x % kChunks * 16);
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
    }
    FenceAsyncProxy();
    NamedBarrierSync<256>(kValuesBarrier);
  }

  __device__ __forceinline__ void Write(const PrefillItem& item) const {
    const int lane = thread_ % 32;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = RowOf(item, h);
      const bool real = row < item.query_len * p_.group;
      const int token = row / p_.group, head = item.kv_head * p_.group + row % p_.group;
      const float sink = p_.sinks && real ? __ldg(p_.sinks + head) : -INFINITY;
      const float scale = softmax_.Normaliser(p_, h, sink);
      T* at = static_cast<T*>(p_.out) + (item.first_token + int64_t{token}) * p_.out_token_stride +
              int64_t{head} * Traits::kHeadDim + lane % 4 * 8;
#pragma unroll
      for (int part = 0; part < Traits::kParts; ++part) {
#pragma unroll
        for (int c = 0; c < Traits::kPartDim / 32; ++c) {
          // Four blocks of eight columns: each lane of the quad ends up with one whole block.
          uint32_t r[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float* x = out_[part] + 4 * (4 * c + i) + 2 * h;
            r[i] = Pack<T>(x[0] * scale, x[1] * scale);
          }
          QuadTranspose(r, lane);
          if (real) {
            *reinterpret_cast<uint4*>(at + part * Traits::kPartDim + c * 32) =
                make_uint4(r[0], r[1], r[2], r[3]);
          }
        }
      }
    }
  }

  const PrefillParams& p_;
  const PrefillShared<Traits>& shared_;
  int warpgroup_, thread_;
  uint64_t query_, keys_, values_;
  Softmax softmax_;
  typename Softmax::Scores score_;
  typename Softmax::Probabilities probability_;
  float out_[Traits::kParts][Traits::kPartDim / 2];
};

}  // namespace slipstream::kernels
