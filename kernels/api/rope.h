// q/k normalisation, rotary position embedding (Su et al. 2021) and the KV-cache write of one
// layer on the CPU, one pass over the step's tokens. Stateless, any thread, tokens split over
// workers: the slots of different tokens differ.
#pragma once

#include <cstdint>

#include "kernels/api/cpu_attention.h"

namespace slipstream::kernels {

struct RopeKvParams {
  float* qkv = nullptr;  // [num_tokens, (num_heads + 2 * num_kv_heads) * head_dim] f32, in place
  int64_t num_tokens = 0;
  int num_heads = 0;
  const float* q_norm = nullptr;  // [head_dim] f32 or null
  const float* k_norm = nullptr;  // [head_dim] f32 or null
  float eps = 0.0f;
  const float* cos = nullptr;  // [max_positions, rotary_dim / 2] f32 or null: no rotation
  const float* sin = nullptr;
  int rotary_dim = 0;
  bool interleaved = false;            // pairs (2i, 2i + 1); else (i, i + rotary_dim / 2)
  const int32_t* positions = nullptr;  // [num_tokens]
  const int64_t* slot_ids = nullptr;   // [num_tokens]; negative: not written
  CpuKvView kv;
};

namespace reference {
// Normalises and rotates one head [head_dim] in place.
void NormAndRotate(float* head, int head_dim, const float* norm, float eps, const float* cos,
                   const float* sin, int rotary_dim, bool interleaved);
}  // namespace reference

}  // namespace slipstream::kernels
