// Launcher of decode_prefetch_sm90, the decode-attention kernel of the sm_90 backend. Contract and
// numerical promise: kernels/api/paged_attention.h. Asynchronous on `stream`; no allocation, no
// synchronisation; may be captured. One launch at a time may use a scratch buffer.
//
// Supports: bf16 and fp16 with equal query type, e4m3 KV with bf16 queries; head_dim 64, 96, 128,
// 256; group 1..16; query length 1..8; block_size 16, 32, 64, 128; KvLayout::kSwizzled.
// REQUIRES: shape.grid is at most the number of SMs, and no kernel that never ends holds any of
// them (CTAs of one launch wait for each other); `plan` was built for these lengths with the same
// DecodePlanShape and uploaded; `scratch` was filled with 0xFF bytes once (DecodeScratchBytes).
// With dependent_launch: plan, block_tables, kv_len, query_start and all KV but this step's tokens
// were written before the grid that precedes this one in the stream began.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/api/paged_attention.h"
#include "kernels/cuda/attention/decode_plan.h"
#include "kernels/cuda/attention/tuning.h"

namespace slipstream::kernels {

KernelStatus DecodePrefetchSm90(const PagedAttentionParams& p, const DecodePlanShape& shape,
                                const void* plan, void* scratch, const DecodeTuning& tuning,
                                cudaStream_t stream);

}  // namespace slipstream::kernels
