// Contract of the block copy: dst block := src block in every given buffer (K and V of every
// layer), for prefix sharing and forks. Pairs are independent: no block is the destination of two
// pairs or both source and destination. Asynchronous, no allocation, graph-safe.
#pragma once

#include <cstdint>

#include "kernels/api/types.h"

namespace slipstream::kernels {

struct BlockCopyParams {
  void* const* buffers = nullptr;  // [num_buffers] base addresses, 16-byte aligned
  const int32_t* pairs = nullptr;  // [num_pairs, 2] source block, destination block
  int64_t block_stride_bytes = 0;  // multiple of 16
  int64_t block_bytes = 0;         // multiple of 16, <= block_stride_bytes
  int num_buffers = 0;
  int num_pairs = 0;
};

// Reference on host memory.
KernelStatus BlockCopyReference(const BlockCopyParams& p);

}  // namespace slipstream::kernels
