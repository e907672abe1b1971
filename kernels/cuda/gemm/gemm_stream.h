// y = x W^T (+ bias) for few tokens on sm_90: the weights are streamed from HBM exactly once, by
// bulk tensor copies that run ahead of everything the product depends on.
//
//   W [N, K] and x [M, K] in bf16 or fp16 (equal), y [M, N] in the same type or f32, bias [N] f32;
//   accumulation in f32. Any N >= 1, K a multiple of 8, any M >= 1 (above 128 tokens W is read from
//   L2 once more per 128: correct, but a library product is faster).
//
// Owner: the caller owns all memory. Any thread, any stream; asynchronous, no allocation, no
// synchronisation, may be captured. Fails with kInvalidArgument or kUnsupported before the launch,
// kLaunchFailed if CUDA refuses it.
//
// Promise: the same shapes, tuning and values give the same bits, on every launch.
//
// REQUIRES: no kernel that never ends holds an SM (the CTAs of one launch wait for each other; all
// of them are resident at once). One launch at a time may use a workspace. With dependent_launch: W
// and bias were written before the kernel that precedes this one in the stream began.
//
// Sources: Stream-K (arXiv 2301.03598) for the split; PTX ISA 8.x, wgmma and cp.async.bulk.tensor;
// loading weights before the dependency resolves: CUTLASS example 63, arXiv 2504.06319.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/api/types.h"
#include "kernels/cuda/gemm/gemm_epilogue.h"

namespace slipstream::kernels {

// One weight matrix: made once at load, used by every product with it.
struct GemmStreamWeights {
  CUtensorMap map;
  DType dtype = DType::kBF16;
  int64_t n = 0;
  int64_t k = 0;
};

// `w`: [n, k], rows `row_stride` elements apart. REQUIRES: w 16-byte aligned, row_stride % 8 == 0.
KernelStatus MakeGemmStreamWeights(const void* w, DType dtype, int64_t n, int64_t k,
                                   int64_t row_stride, GemmStreamWeights* out);

struct GemmStreamTuning {
  // CTAs; 0: chosen so that every one reads the same bytes. At most the number of SMs.
  int grid = 0;
  // Depth of the ring in 64-column stages; 0: half an SM's shared memory if dependent_launch, so
  // that the next kernel's ring fits beside it, else all of it. Capped by shared memory.
  int stages = 0;
  // 64-row blocks of a warpgroup, 1 or 2, from 33 tokens on; 0: chosen by the number of tiles.
  int row_blocks = 0;
  // Stages beyond the ring that are asked into L2 before the dependency resolves.
  int prefetch_stages = 0;
  // Start while the previous kernel of the stream ends; loads weights before waiting for it.
  bool dependent_launch = false;
  // Let the next kernel start at once, not when the last weights have been asked for.
  bool early_release = false;
};

struct GemmStreamArgs {
  const void* x = nullptr;  // [m, k], 16-byte aligned
  int64_t x_stride = 0;     // elements, a multiple of 8
  const float* bias = nullptr;
  void* y = nullptr;     // [m, n]
  int64_t y_stride = 0;  // elements
  DType y_dtype = DType::kBF16;
  int m = 0;
  GemmStreamTuning tuning;
  GemmStreamEpilogue epilogue;  // up to 64 tokens, else kUnsupported
};

// Bytes of device memory that serve every product of up to max_m tokens on a device of `num_sms`.
// Every byte must be 0xFF before the first use; each launch leaves it that way.
size_t GemmStreamWorkspaceBytes(int max_m, int num_sms);

KernelStatus GemmStreamSm90(const GemmStreamWeights& w, const GemmStreamArgs& args, void* workspace,
                            cudaStream_t stream);

}  // namespace slipstream::kernels
