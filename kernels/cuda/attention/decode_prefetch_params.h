// What the launcher hands to the decode-attention kernel: plain values, all pointers to device
// memory owned by the caller of DecodePrefetchSm90.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/decode_plan.h"

namespace slipstream::kernels {

struct DecodeParams {
  const void* q;
  void* out;
  uint64_t k;  // addresses: they are only handed to the copy engine
  uint64_t v;
  const int32_t* block_tables;
  const int32_t* kv_len;
  const int32_t* query_start;
  const float* sinks;
  const DecodeSegment* plan;
  float* records;  // partial results of split rows; at rest 0xFF
  int64_t q_token_stride;
  int64_t out_token_stride;
  int64_t block_stride_bytes;
  int64_t head_stride_bytes;
  int32_t max_blocks;
  int32_t group;
  int32_t block_shift;  // log2(block_size / 16)
  int32_t sliding_window;
  int32_t stages;
  int32_t prefetch_distance;
  int32_t prefetch_start;  // tiles requested behind the ring before the dependency wait; below 0:
                           // the ring too is filled after it
  float
      score_scale;  // to base-2 exponents: scale * k_scale * log2(e), or without log2(e) if capped
  float softcap;    // 0: none
  float v_scale;
};

}  // namespace slipstream::kernels
