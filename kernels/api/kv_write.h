// Contract of the KV write: puts the new K and V rows of a step into the paged cache, optionally
// normalising and rotating q and k on the way (q in place). Arguments are views owned by the
// caller. Launchers are asynchronous, do not allocate, may be captured in a graph and fail with
// kInvalidArgument, kUnsupported or kLaunchFailed.
// Sources: rotary embedding, arXiv 2104.09864; q/k norm as in Qwen3.
#pragma once

#include <cstdint>

#include "kernels/api/kv_layout.h"
#include "kernels/api/types.h"

namespace slipstream::kernels {

enum class RopeStyle : uint8_t {
  kNone,
  kNeox,         // element i pairs with i + rotary_dim / 2
  kInterleaved,  // element 2i pairs with 2i + 1
};

struct KvWriteParams {
  // Rows of [num_tokens, ...] in `dtype`, contiguous in head_dim; q may be null with num_heads 0.
  void* q = nullptr;           // [num_tokens, num_heads, head_dim], normalised and rotated in place
  const void* k = nullptr;     // [num_tokens, num_kv_heads, head_dim]
  const void* v = nullptr;     // [num_tokens, num_kv_heads, head_dim]
  DType dtype = DType::kBF16;  // kBF16 or kF16; kF32 in the reference
  int64_t q_token_stride = 0;  // elements
  int64_t k_token_stride = 0;
  int64_t v_token_stride = 0;
  KvCacheView kv;
  const int64_t* slot_ids = nullptr;   // [num_tokens] block * block_size + offset; negative: skip
  const int32_t* positions = nullptr;  // [num_tokens]; REQUIRES non-null when rope is set
  const float* cos = nullptr;          // [max_positions, rotary_dim / 2] f32
  const float* sin = nullptr;
  const float* q_norm = nullptr;  // [head_dim] f32 RMS-norm weights; null: none
  const float* k_norm = nullptr;
  float norm_eps = 1e-6f;
  RopeStyle rope = RopeStyle::kNone;
  int rotary_dim = 0;
  int num_tokens = 0;
  int num_heads = 0;
};

// Reference: float32 math on host memory.
KernelStatus KvWriteReference(const KvWriteParams& p);

}  // namespace slipstream::kernels
