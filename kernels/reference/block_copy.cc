#include "kernels/api/block_copy.h"

#include <cstring>

namespace slipstream::kernels {

KernelStatus BlockCopyReference(const BlockCopyParams& p) {
  if ((p.num_pairs > 0 && (!p.buffers || !p.pairs)) || p.block_bytes > p.block_stride_bytes) {
    return KernelStatus::kInvalidArgument;
  }
  for (int b = 0; b < p.num_buffers; ++b) {
    auto* base = static_cast<uint8_t*>(p.buffers[b]);
    for (int i = 0; i < p.num_pairs; ++i) {
      std::memcpy(base + p.pairs[2 * i + 1] * p.block_stride_bytes,
                  base + p.pairs[2 * i] * p.block_stride_bytes, p.block_bytes);
    }
  }
  return KernelStatus::kOk;
}

}  // namespace slipstream::kernels
