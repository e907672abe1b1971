// Launcher of prefill_sm90, the attention kernel of the sm_90 backend for query chunks of any
// length. Contract and numerical promise: kernels/api/paged_attention.h (max_query_len and the
// device's kv_len and query_start are not read: the plan holds them). Asynchronous on `stream`; no
// allocation, no synchronisation; may be captured.
//
// Supports: bf16 and fp16 with equal query and KV type; head_dim 64, 96, 128, 256; groups of up
// to 128 heads; block_size 16, 32, 64, 128; KvLayout::kSwizzled; positive scale.
// REQUIRES: `plan` was built for this step with the same PrefillPlanShape and uploaded; num_items
// is what BuildPrefillPlan returned; q and out are 16-byte aligned, their strides multiples of 8
// elements. Rows of sequences that the plan leaves out are neither read nor written. With
// dependent_launch the kernel may start while the previous one of the stream ends; it reads nothing
// before that one's writes are visible.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/api/paged_attention.h"
#include "kernels/cuda/attention/prefill_plan.h"

namespace slipstream::kernels {

KernelStatus PrefillSm90(const PagedAttentionParams& p, const PrefillPlanShape& shape,
                         const void* plan, int num_items, bool dependent_launch,
                         cudaStream_t stream);

}  // namespace slipstream::kernels
