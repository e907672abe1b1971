// Sizes of gemm_stream_sm90 per number of tokens, its parameters, and how the work is cut.
#pragma once

#include <cstdint>

#include "kernels/cuda/gemm/gemm_epilogue.h"

namespace slipstream::kernels {

inline constexpr int kGemmBlockK = 64;       // one 128-byte swizzled row
inline constexpr int kGemmWeightRows = 128;  // rows of one weight copy: 64 per warpgroup
inline constexpr int kGemmRowBytes = kGemmBlockK * 2;
inline constexpr int kGemmConsumers = 256;  // threads of the two multiplying warpgroups

// T: __nv_bfloat16 or __half. kTokens: columns of the product. kRowBlocks: 64-row products per
// warpgroup; more rows mean fewer reads of x from L2 but larger partial tiles. kEpilogue: what is
// done with the sums.
template <typename T_, int kTokens_, int kRowBlocks_,
          GemmEpilogueKind kEpilogue_ = GemmEpilogueKind::kNone>
struct GemmStreamTraits {
  using T = T_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kRowBlocks = kRowBlocks_;
  static constexpr GemmEpilogueKind kEpilogue = kEpilogue_;
  static constexpr bool kFused = kEpilogue != GemmEpilogueKind::kNone;
  static constexpr bool kResidual = kEpilogue == GemmEpilogueKind::kResidualNorm;
  static constexpr int kTileRows = kGemmWeightRows * kRowBlocks;
  static constexpr int kThreads = kGemmConsumers + 32;  // and the warp that copies
  static constexpr int kWeightBytes = kTileRows * kGemmRowBytes;
  static constexpr int kStageBytes = kWeightBytes + kTokens * kGemmRowBytes;
  static constexpr int kTokenGroups = kTokens / 8;
  static constexpr int kGroups = kRowBlocks * kTokenGroups;  // 4 accumulators of a thread each
  static constexpr int kRecordFloats = kTileRows * kTokens;
  // Up to 64 accumulators a thread, two CTAs share an SM: the next launch loads beside this one.
  static constexpr int kCtasPerSm = kGroups <= 16 ? 2 : 1;

  static constexpr int kMaxStages = 16;
  // Sums of the warps per token: of the squares of a tile, or of those that make a token's scale.
  static constexpr int kScratchFloats = !kFused ? 0 : kResidual ? 8 * kTokens : 256 + kTokens;
  // Alignment, barriers, scratch of the epilogue.
  static constexpr int kFixedBytes = 1024 + 2 * kMaxStages * 8 + 4 * kScratchFloats;
  static constexpr int kSharedLimit = 232448;  // 227 KiB, compute capability 9.0
  static constexpr int kHalfLimit = 233472 / 2 - 1024;
  static constexpr int StagesIn(int bytes) {
    const int fit = (bytes - kFixedBytes) / kStageBytes;
    return fit < kMaxStages ? fit : kMaxStages;
  }
  static constexpr int SharedBytes(int stages) { return kFixedBytes + stages * kStageBytes; }

  static_assert(kStageBytes % 1024 == 0, "swizzled tiles start on multiples of 1024");
  static_assert(StagesIn(kHalfLimit) >= 2);
  // A residual tile is 128 consecutive rows, and one tile of tokens holds all of them.
  static_assert(!kFused || (kTokens <= 64 && (!kResidual || kRowBlocks == 1)));
};

struct GemmStreamParams {
  const float* bias;
  void* y;
  float* records;  // partial tiles; at rest 0xFF
  int64_t y_stride;
  int m, n;
  int k_blocks;
  int token_tiles;
  int units;  // row tiles * token_tiles * k_blocks
  int stages;
  int prefetch_stages;
  bool early_release;
  bool y_is_f32;
  GemmStreamEpilogue epilogue;
  int partials;           // rows of epilogue.partials_in
  float inverse_columns;  // 1 / K: what the mean of squares is taken over
};

// All units, tile after tile and along K within a tile, form one line that is cut into one share
// per CTA: share i is [ShareBegin(i), ShareBegin(i + 1)).
__host__ __device__ inline int ShareBegin(int units, int grid, int i) {
  return static_cast<int>(int64_t{units} * i / grid);
}
__host__ __device__ inline int ShareOf(int units, int grid, int unit) {
  return static_cast<int>(((int64_t{unit} + 1) * grid - 1) / units);
}

}  // namespace slipstream::kernels
