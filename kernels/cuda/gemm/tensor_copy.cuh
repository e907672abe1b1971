// Bulk tensor copies (PTX ISA, cp.async.bulk.tensor) of 2-D tiles into shared memory, and what the
// ring around them needs. Elements outside the tensor arrive as zeros and count as copied bytes.
#pragma once

#include <cuda.h>

#include "kernels/cuda/common/async_copy.cuh"

namespace slipstream::kernels {

__device__ __forceinline__ uint64_t EvictNormalPolicy() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// `map` must be a kernel parameter (__grid_constant__).
__device__ __forceinline__ void PrefetchTensorMap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

__device__ __forceinline__ void TensorCopy(uint32_t dst, const CUtensorMap* map, int column,
                                           int row, uint32_t bar, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(dst),
      "l"(map), "r"(column), "r"(row), "r"(bar), "l"(policy)
      : "memory");
}

__device__ __forceinline__ void TensorPrefetchL2(const CUtensorMap* map, int column, int row) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%0, {%1, %2}];" ::"l"(map),
               "r"(column), "r"(row)
               : "memory");
}

}  // namespace slipstream::kernels
