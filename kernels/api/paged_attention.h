// Contract of paged attention: softmax(scale * q k^T + mask) v over a block-table KV cache.
// Arguments are views; the caller owns all memory and keeps it alive until the stream has passed
// the call. Launchers may be called from any thread, do not allocate or synchronise and may be
// captured in a CUDA graph. They fail with kInvalidArgument (contradicting sizes), kUnsupported (a
// combination without a kernel) or kLaunchFailed.
//
// Numerical promise: scores, softmax and accumulation in float32 (the reference: float64);
// probabilities are rounded to the KV dtype before the second product, the output to q_dtype.
// An 8-bit cache also rounds q to e4m3, with one scale per query head.
// A sequence with kv_len 0 gives zeros.
//
// Sources: paged attention, arXiv 2309.06180; online softmax, arXiv 1805.02867; split KV,
// Flash-Decoding (2023); equal shares of work, Stream-K, arXiv 2301.03598; L2 prefetch of KV,
// arXiv 2504.06319; attention sinks as an extra logit, arXiv 2309.17453 and gpt-oss.
#pragma once

#include <cstdint>

#include "kernels/api/kv_layout.h"
#include "kernels/api/types.h"

namespace slipstream::kernels {

struct PagedAttentionParams {
  const void* q = nullptr;  // [num_tokens, num_heads, head_dim] q_dtype, contiguous in head_dim
  void* out = nullptr;      // [num_tokens, num_heads, head_dim] q_dtype
  DType q_dtype = DType::kBF16;  // kBF16 or kF16; kF32 in the reference
  int64_t q_token_stride = 0;    // elements from one token's first head to the next token's
  int64_t out_token_stride = 0;
  KvCacheView kv;
  const int32_t* block_tables = nullptr;  // [num_seqs, max_blocks] i32, 4-byte aligned
  const int32_t* kv_len = nullptr;        // [num_seqs] i32, with this step's tokens
  // [num_seqs + 1] i32, first token of each sequence; null: one query per sequence, row = sequence.
  const int32_t* query_start = nullptr;
  const float* sinks = nullptr;  // [num_heads] f32 extra logits (after scaling); null: none
  int num_seqs = 0;
  int num_heads = 0;   // REQUIRES: a multiple of kv.num_kv_heads
  int max_blocks = 0;  // row length of block_tables
  // Largest query length of the batch: 1..8 for decode attention on the device, any for prefill.
  int max_query_len = 1;
  float scale = 1.0f;
  float logit_softcap = 0.0f;  // cap * tanh(x / cap) before the mask; 0: none
  int sliding_window = 0;      // a query at p sees keys in (p - window, p]; 0: all
};

// Reference: float64 accumulation on the host, any layout and dtype; out and q are host memory.
KernelStatus PagedAttentionReference(const PagedAttentionParams& p);

// The same math in the precision a tensor-core kernel works in: float32 scores, probabilities (and
// for 8-bit caches q) rounded to the KV dtype. Its error against the reference is the yardstick
// that device tests use.
KernelStatus PagedAttentionLowPrecision(const PagedAttentionParams& p);

}  // namespace slipstream::kernels
