// Sizes of the prefill-attention kernel per dtype and head dim, the layout of its shared memory and
// its barriers.
#pragma once

#include <cstdint>

#include "kernels/api/kv_layout.h"
#include "kernels/cuda/attention/prefill_plan.h"
#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/mma.cuh"
#include "kernels/cuda/common/wgmma.cuh"

namespace slipstream::kernels {

// T: __nv_bfloat16 or __half, of queries, KV and output.
template <typename T_, int kHeadDim_, bool kSoftcap_>
struct PrefillTraits {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kSoftcap = kSoftcap_;
  static constexpr int kRows = kPrefillRows;
  static constexpr int kTile = PrefillTileTokens(kHeadDim);  // tokens of a KV tile
  static constexpr int kPieces = kTile / 16;                 // bulk copies of a K or V tile
  // From the last read of a stage to the next use of it pass kStages - 1 tiles; two stages leave
  // little room for a slow L2.
  static constexpr int kStages = kHeadDim > 128 ? 2 : kHeadDim > 64 ? 3 : 4;
  // Warpgroup 0 loads, the others compute 64 rows each. Registers: 128 * 40 + 256 * 232 is what 384
  // threads get at launch (168 each).
  static constexpr int kConsumers = 2;
  static constexpr int kThreads = 128 * (1 + kConsumers);
  static constexpr int kQueryThreads = 96;  // warps 1..3 of the loading warpgroup
  static constexpr int kLoadRegisters = 40;
  static constexpr int kMathRegisters = 232;
  // One warpgroup's products run while the other one does its softmax. At head dim 256 products
  // take four times as long as the softmax; order would not help.
  static constexpr bool kPingPong = kHeadDim <= 128;

  static constexpr int kRowBytes = kHeadDim * 2;
  static constexpr int kAtomRowBytes = AtomRowBytes(kRowBytes, 2);
  static constexpr int kAtomBytes = 8 * kAtomRowBytes;
  static constexpr int kGroupBytes = 8 * kRowBytes;  // eight tokens, or rows of q
  static constexpr int kPieceBytes = 16 * kRowBytes;
  static constexpr int kTileBytes = kTile * kRowBytes;
  static constexpr int kQueryBytes = kRows * kRowBytes;

  // The output is accumulated in parts of at most 128 columns.
  static constexpr int kPartDim = kHeadDim > 128 ? 128 : kHeadDim;
  static constexpr int kParts = kHeadDim / kPartDim;

  static constexpr int kAlign = 1024;  // of everything that holds swizzle atoms
  static constexpr int kSharedBytes = kAlign + kQueryBytes + 2 * kStages * kTileBytes + 256;
  static_assert(kSharedBytes <= 232448, "227 KiB, compute capability 9.0");
  static_assert(kTileBytes % kAlign == 0 && kQueryBytes % (kConsumers * kAlign) == 0);
  static_assert(kRows == 64 * kConsumers && kPieces <= 32 && kPartDim % 32 == 0);

  // Offset of an element inside q, K or V: a part for the row, a part for its byte (unswizzled).
  static __device__ __forceinline__ uint32_t RowOffset(int row) {
    return (row >> 3) * kGroupBytes + (row & 7) * kAtomRowBytes;
  }
  static __device__ __forceinline__ constexpr uint32_t ByteOffset(int byte) {
    return byte / kAtomRowBytes * kAtomBytes + byte % kAtomRowBytes;
  }
};

// Shared addresses. Stages of K and of V have a barrier for "full" and one for "empty" each; q has
// one pair.
template <typename Traits>
struct PrefillShared {
  uint32_t query, keys, values, barriers;

  __device__ __forceinline__ explicit PrefillShared(const void* base) {
    query = (SharedAddress(base) + Traits::kAlign - 1) / Traits::kAlign * Traits::kAlign;
    keys = query + Traits::kQueryBytes;
    values = keys + Traits::kStages * Traits::kTileBytes;
    barriers = values + Traits::kStages * Traits::kTileBytes;
  }
  __device__ __forceinline__ uint32_t Keys(int stage) const {
    return keys + stage * Traits::kTileBytes;
  }
  __device__ __forceinline__ uint32_t Values(int stage) const {
    return values + stage * Traits::kTileBytes;
  }
  __device__ __forceinline__ uint32_t QueryFull() const { return barriers; }
  __device__ __forceinline__ uint32_t QueryEmpty() const { return barriers + 8; }
  __device__ __forceinline__ uint32_t KeysFull(int stage) const {
    return barriers + 16 + stage * 32;
  }
  __device__ __forceinline__ uint32_t KeysEmpty(int stage) const { return KeysFull(stage) + 8; }
  __device__ __forceinline__ uint32_t ValuesFull(int stage) const { return KeysFull(stage) + 16; }
  __device__ __forceinline__ uint32_t ValuesEmpty(int stage) const { return KeysFull(stage) + 24; }
  __device__ __forceinline__ uint32_t Scratch() const { return KeysFull(Traits::kStages); }

  // By one thread, before anything uses them. Each consumer warp frees a buffer by itself.
  __device__ void InitBarriers() const {
    constexpr int kConsumerWarps = 4 * Traits::kConsumers;
    BarrierInit(QueryFull(), Traits::kQueryThreads);
    BarrierInit(QueryEmpty(), kConsumerWarps);
    for (int s = 0; s < Traits::kStages; ++s) {
      BarrierInit(KeysFull(s), 1);
      BarrierInit(KeysEmpty(s), kConsumerWarps);
      BarrierInit(ValuesFull(s), 1);
      BarrierInit(ValuesEmpty(s), kConsumerWarps);
    }
    FenceBarrierInit();
  }
};

// Where the n-th tile of a CTA lives, and the parity of the barrier phase that it completes.
template <typename Traits>
struct TileSlot {
  int stage;
  uint32_t parity;
  __device__ __forceinline__ explicit TileSlot(uint32_t n)
      : stage(n % Traits::kStages), parity(n / Traits::kStages & 1) {}
};

__device__ __forceinline__ PrefillItem LoadItem(const PrefillItem* at) {
  const int4 a = __ldg(reinterpret_cast<const int4*>(at));
  const int4 b = __ldg(reinterpret_cast<const int4*>(at) + 1);
  return {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
}

}  // namespace slipstream::kernels
