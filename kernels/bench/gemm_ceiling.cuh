// The most that copying weights into shared memory can reach: the ring, the split and the tiles of
// gemm_stream_sm90 without tokens, products or outputs. `tiled` reads the same bytes in the order
// in which they lie, as if the checkpoint had been stored tile by tile: the difference is what the
// row-major layout costs.
#pragma once

#include "kernels/bench/attention_harness.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/gemm/gemm_stream.h"
#include "kernels/cuda/gemm/gemm_stream_traits.cuh"
#include "kernels/cuda/gemm/tensor_copy.cuh"

namespace slipstream::bench {

constexpr int kCopyStageBytes = 128 * 128;

__global__ void CopyOnlyKernel(const __grid_constant__ CUtensorMap map, const uint16_t* data,
                               int units, int k_blocks, int stages, bool tiled) {
  using namespace slipstream::kernels;
  extern __shared__ __align__(1024) unsigned char shared[];
  if (threadIdx.x != 0) return;
  const uint32_t ring = (SharedAddress(shared) + 1023) / 1024 * 1024;
  const uint32_t full = ring + stages * kCopyStageBytes;
  for (int i = 0; i < stages; ++i) BarrierInit(full + 8 * i, 1);
  FenceBarrierInit();
  const uint64_t policy = EvictFirstPolicy();
  const int begin = ShareBegin(units, gridDim.x, blockIdx.x);
  const int end = ShareBegin(units, gridDim.x, blockIdx.x + 1);
  const auto load = [&](int unit, int slot) {
    BarrierArriveExpect(full + 8 * slot, kCopyStageBytes);
    const uint32_t to = ring + slot * kCopyStageBytes;
    if (tiled) {
      BulkCopy(to, reinterpret_cast<uint64_t>(data) + uint64_t{kCopyStageBytes} * unit,
               kCopyStageBytes, full + 8 * slot, policy);
    } else {
      TensorCopy(to, &map, unit % k_blocks * 64, unit / k_blocks * 128, full + 8 * slot, policy);
    }
  };
  for (int i = 0; i < stages && begin + i < end; ++i) load(begin + i, i);
  int slot = 0;
  uint32_t parity = 0;
  for (int u = begin; u < end; ++u) {
    BarrierWait(full + 8 * slot, parity);
    if (u + stages < end) load(u + stages, slot);
    if (++slot == stages) slot = 0, parity ^= 1;
  }
}

// us of one pass over a matrix of n rows (a multiple of 128), weights cold.
inline double TimeCopyOnly(const std::vector<kernels::GemmStreamWeights>& maps,
                           const std::vector<const void*>& data, int grid, int stages, bool tiled) {
  const int shared = 2048 + stages * kCopyStageBytes;
  SLIP_CUDA(
      cudaFuncSetAttribute(CopyOnlyKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 232448));
  const int k_blocks = static_cast<int>(maps[0].k / 64);
  const int units = static_cast<int>(maps[0].n / 128) * k_blocks;
  const int calls = static_cast<int>(maps.size());
  return TimeGraph(calls,
                   [&](cudaStream_t stream) {
                     for (int i = 0; i < calls; ++i) {
                       CopyOnlyKernel<<<grid, 32, shared, stream>>>(
                           maps[i].map, static_cast<const uint16_t*>(data[i]), units, k_blocks,
                           stages, tiled);
                     }
                     SLIP_CUDA(cudaGetLastError());
                   })
      .median_us;
}

}  // namespace slipstream::bench
