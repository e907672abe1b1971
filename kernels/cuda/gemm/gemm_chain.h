// Several products of gemm_stream.h that read each other's results, as one persistent kernel: the
// stream of weights runs on from matrix to matrix while a product is merged, waited for and begun,
// because weights depend on nothing. Activations are the only thing ever waited for.
//
//   product i     weights ... weights | weights of i + 1 fill the ring | ...
//                  multiply ... merge -> all CTAs done -> tokens of i + 1 -> multiply ...
//
// A CTA stays on its SM for the whole chain. Weights and tokens have a ring each, so weights never
// queue behind tokens that do not exist yet. Between two products, every CTA of the first one adds
// to a counter and the copying warp for tokens waits for it. Splits, merges and epilogues are those
// of gemm_stream_sm90, with its bits.
//
// Owner: the caller owns all memory. Any thread, any stream; asynchronous, no allocation, no
// synchronisation, may be captured. Fails before the launch with kInvalidArgument or kUnsupported
// (more than kGemmEpilogueMaxTokens tokens, products of different numbers of tokens or types), with
// kLaunchFailed if CUDA refuses it.
//
// REQUIRES: as gemm_stream.h; one launch at a time uses a workspace and its counters. Product i
// reads of memory written in this chain only what products before it wrote.
//
// Sources: as gemm_stream.h; "No bubbles" (one kernel for a whole forward pass, Hazy Research,
// 2025) for counters between the parts of one kernel.
#pragma once

#include <span>

#include "kernels/cuda/gemm/gemm_stream.h"

namespace slipstream::kernels {

inline constexpr int kGemmChainMax = 4;

struct GemmChainProduct {
  const GemmStreamWeights* weights = nullptr;
  GemmStreamArgs args;  // of its tuning, grid and row_blocks count
};

struct GemmChainTuning {
  // Depth of the rings in 64-column stages; 0: tokens enough to hide their latency, and weights in
  // all the shared memory that is left.
  int weight_stages = 0;
  int token_stages = 0;
  bool dependent_launch = false;
  // Let the next kernel start at once, not when the last weights have been asked for.
  bool early_release = false;
};

// Words of device memory. Zero before the first use; each launch leaves them that way.
inline constexpr int kGemmChainCounters = kGemmChainMax + 1;

// REQUIRES: 1 to kGemmChainMax products.
KernelStatus GemmChainSm90(std::span<const GemmChainProduct> products,
                           const GemmChainTuning& tuning, void* workspace, uint32_t* counters,
                           cudaStream_t stream);

}  // namespace slipstream::kernels
