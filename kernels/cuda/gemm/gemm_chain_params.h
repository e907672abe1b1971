// What is handed to the kernel of gemm_chain.h and to its launch. Plain host code.
#pragma once

#include "kernels/cuda/gemm/gemm_chain.h"
#include "kernels/cuda/gemm/gemm_stream_variant.h"

namespace slipstream::kernels {

struct GemmChainLink {
  CUtensorMap weights;
  CUtensorMap tokens;
  GemmStreamParams p;
  int grid;  // CTAs that have a share of it: the first ones
  int row_blocks;
};

struct GemmChainParams {
  GemmChainLink links[kGemmChainMax];
  int count;
  int weight_stages, token_stages;
  uint32_t*
      counters;  // CTAs that are done with a product; the last one: that wait for nothing more
  bool early_release;
};

struct GemmChainLaunch {
  GemmChainParams params;
  int tokens = 8;  // columns of one product
  int grid = 0;
  bool dtype_is_bf16 = true;
  GemmChainTuning tuning;
  cudaStream_t stream = nullptr;
};

}  // namespace slipstream::kernels
