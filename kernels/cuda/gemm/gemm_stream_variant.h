// Which instantiation and which grid serve a product, and what is handed to the launch. Plain host
// code without CUDA calls; deterministic.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "kernels/cuda/gemm/gemm_stream.h"
#include "kernels/cuda/gemm/gemm_stream_traits.cuh"

namespace slipstream::kernels {

struct GemmStreamVariant {
  int tokens = 8;      // columns of one product
  int row_blocks = 1;  // a tile has 128 * row_blocks rows
};

struct GemmStreamLaunch {
  CUtensorMap weights;
  CUtensorMap tokens;
  GemmStreamParams params;
  int grid;
  GemmStreamTuning tuning;
  cudaStream_t stream;
};

// Tall tiles halve the reads of x from L2, which cost as much as the weights at 128 tokens, but
// double a partial tile: they pay where there are enough of them to fill the device unsplit. At 64
// tokens they never do (the "flat" rows of gemm_stream.csv).
inline GemmStreamVariant ChooseGemmStreamVariant(int m, int64_t n, int num_sms,
                                                 int row_blocks = 0) {
  GemmStreamVariant v;
  while (v.tokens < m && v.tokens < 128) v.tokens *= 2;
  if (v.tokens >= 64 && row_blocks > 0) {
    v.row_blocks = row_blocks;
    return v;
  }
  const int64_t tall_tiles =
      (n + 2 * kGemmWeightRows - 1) / (2 * kGemmWeightRows) * ((m + v.tokens - 1) / v.tokens);
  if (v.tokens > 64 && 10 * tall_tiles >= 8 * num_sms) v.row_blocks = 2;
  return v;
}

// HBM, not the number of SMs, bounds the product: a few SMs may stay idle if that puts the cuts of
// the line at tile boundaries, where nothing needs merging, or the same number of cuts in every
// tile.
inline int ChooseGemmStreamGrid(int tiles, int k_blocks, int num_sms) {
  constexpr int kMinUnits = 4;  // a CTA is worth its start from 4 stages on
  const int64_t units = int64_t{tiles} * k_blocks;
  int grid = num_sms;
  if (tiles >= num_sms) {
    const int per_cta = (tiles + num_sms - 1) / num_sms;
    if (tiles % per_cta == 0 && 10 * (tiles / per_cta) >= 8 * num_sms) grid = tiles / per_cta;
  } else {
    const int aligned = num_sms / tiles * tiles;
    if (10 * aligned >= 8 * num_sms) grid = aligned;
  }
  const int64_t useful = (units + kMinUnits - 1) / kMinUnits;
  return static_cast<int>(useful < grid ? useful : grid);
}

}  // namespace slipstream::kernels
