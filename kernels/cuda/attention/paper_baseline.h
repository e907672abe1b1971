// The starting point of arXiv 2504.06319, kept as the documented baseline: decode attention in the
// style of vLLM's paged_attention v1, with and without L2 prefetch one iteration ahead. One CTA per
// (query head, sequence); each warp takes one block of 16 tokens; keys are staged in registers; all
// scores sit in shared memory. Asynchronous, no allocation, graph-safe; fails like the launchers of
// kernels/api/paged_attention.h. Not used for serving.
//
// Its cache layout is its own: K [num_blocks, num_kv_heads, head_dim / 8, 16, 8],
// V [num_blocks, num_kv_heads, head_dim, 16], both contiguous; head_dim 128, block_size 16.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/api/types.h"

namespace slipstream::kernels {

struct PaperBaselineParams {
  const void* q = nullptr;  // [num_seqs, num_heads, 128] dtype
  void* out = nullptr;      // [num_seqs, num_heads, 128] dtype
  const void* k = nullptr;
  const void* v = nullptr;
  DType dtype = DType::kF16;              // kF16 or kBF16
  const int32_t* block_tables = nullptr;  // [num_seqs, max_blocks]
  const int32_t* kv_len = nullptr;        // [num_seqs]
  int num_seqs = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int max_blocks = 0;
  int max_kv_len = 0;  // at most 50000: the scores of a sequence must fit in shared memory
  float scale = 1.0f;
};

KernelStatus PaperBaseline(const PaperBaselineParams& p, bool prefetch, cudaStream_t stream);

}  // namespace slipstream::kernels
