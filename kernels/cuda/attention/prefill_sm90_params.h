// What the launcher hands to the prefill-attention kernel: plain values, all pointers to device
// memory owned by the caller of PrefillSm90.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/prefill_plan.h"

namespace slipstream::kernels {

struct PrefillParams {
  const void* q;
  void* out;
  uint64_t k;  // addresses: they are only handed to the copy engine
  uint64_t v;
  const int32_t* block_tables;
  const float* sinks;
  const int32_t* item_begin;  // of each CTA, and the end
  const PrefillItem* items;
  int64_t q_token_stride;
  int64_t out_token_stride;
  uint32_t block_stride;  // in units of 128 bytes
  uint32_t head_stride;   // likewise
  int32_t max_blocks;
  int32_t group;
  int32_t block_shift;  // log2(block_size / 16)
  int32_t sliding_window;
  float score_scale;  // scores (capped: their tanh) to base-2 exponents
  float cap_scale;    // capped: scores to the base-2 exponent of e^2x
};

}  // namespace slipstream::kernels
