// Sizes of the decode-attention kernel per KV dtype, head dim and number of query rows: tile,
// warps, and the layout of shared memory.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/api/kv_layout.h"
#include "kernels/cuda/common/mma.cuh"

namespace slipstream::kernels {

// Kv: __nv_bfloat16, __half or E4M3. Q: 16-bit type of queries and output. kColTiles: query rows of
// a pass / 8.
template <typename Kv_, typename Q_, int kHeadDim_, int kColTiles_>
struct DecodeTraits {
  using Kv = Kv_;
  using Q = Q_;
  static constexpr bool k8Bit = std::is_same_v<Kv, E4M3>;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kColTiles = kColTiles_;
  static constexpr int kRows = 8 * kColTiles;
  // 16 tokens are one piece: one bulk copy, never across two blocks. 8-bit MMAs take 32 tokens.
  static constexpr int kPieces = k8Bit ? 2 : 1;
  static constexpr int kTileTokens = 16 * kPieces;
  static constexpr int kRowBytes = kHeadDim * (k8Bit ? 1 : 2);
  static constexpr int kAtomRowBytes = AtomRowBytes(kRowBytes, k8Bit ? 1 : 2);
  static constexpr int kPieceBytes = 16 * kRowBytes;
  static constexpr int kStageBytes = 2 * kPieces * kPieceBytes;  // K, then V
  static constexpr int kKSteps = kRowBytes / 32;                 // MMAs along head_dim for scores
  static constexpr int kMTiles = kHeadDim / 16;                  // 16-row tiles of the output
  // Wide heads and many rows leave registers and merge space for four warps only.
  static constexpr int kWarps = (kHeadDim > 128 || kColTiles > 2) ? 4 : 8;
  static constexpr int kThreads = 32 * kWarps;
  // With few query rows two CTAs fit on an SM, so that the next launch can load while this one
  // ends.
  static constexpr int kCtasPerSm = kColTiles == 1 && kHeadDim <= 128 ? 2 : 1;
  static constexpr int kMaxStages = 8;
  static constexpr int kMaxAhead = 32;  // tiles between the address cursor and the consumer

  // Partial outputs: [warps][rows][kRowPitch] floats. A pitch of 4 mod 32 words keeps the fragment
  // stores of a warp free of bank conflicts.
  static constexpr int kRowPitch = kHeadDim + 4;
  static constexpr int kCopyLanes = 2 * kPieces;  // lanes that issue copies: K pieces, V pieces
  static constexpr int kBarrierBytes = kWarps * kMaxStages * 8;
  static constexpr int kQueueBytes = kWarps * kMaxAhead * kCopyLanes * 8;
  static constexpr int kMergeBytes = kWarps * kRows * kRowPitch * 4;
  static constexpr int kStatBytes = kWarps * kRows * 2 * 4;
  static constexpr int kStageOutBytes = kWarps * 8 * 32;  // RowExchange, one Partial4 per 8 lanes
  static constexpr int kFixedBytes =
      kBarrierBytes + kQueueBytes + kMergeBytes + kStatBytes + kStageOutBytes;
  static constexpr int kSharedLimit = 232448;  // 227 KiB, compute capability 9.0

  static constexpr int MaxStages() {
    const int fit = (kSharedLimit - kFixedBytes - 128) / (kWarps * kStageBytes);
    return fit < kMaxStages ? fit : kMaxStages;
  }
  static constexpr int SharedBytes(int stages) {
    return kFixedBytes + kWarps * stages * kStageBytes + 128;  // 128: alignment of the ring
  }

  static_assert(kHeadDim % 32 == 0);
  static_assert(kPieceBytes % 128 == 0, "ring slots keep the alignment the swizzle relies on");
};

}  // namespace slipstream::kernels
