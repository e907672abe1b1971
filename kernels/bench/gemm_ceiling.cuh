// The most that copying weights into shared memory can reach: the ring and the split of
// gemm_stream_sm90 without tokens, products or outputs, for several shapes of a 16 KB copy. The
// kernel copies 128 rows of 64 columns; fewer rows of more columns read longer pieces of a row.
// `tiled` reads the same bytes in the order in which they lie, as if the checkpoint had been stored
// tile by tile: the difference is what the row-major layout costs.
#pragma once

#include "kernels/bench/attention_harness.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/gemm/gemm_stream.h"
#include "kernels/cuda/gemm/gemm_stream_traits.cuh"
#include "kernels/cuda/gemm/tensor_copy.cuh"
#include "kernels/cuda/gemm/tensor_map.h"

namespace slipstream::bench {

constexpr int kCopyStageBytes = 128 * 128;

// 16 KB as `pieces` boxes of 64 columns side by side, 128 / pieces rows each; 0: tiled.
using CopyShape = int;

struct CopyOnlyParams {
  const uint16_t* data;
  int units, k_blocks;  // k_blocks: units side by side
  int stages;
  CopyShape pieces;
};

__global__ void CopyOnlyKernel(const __grid_constant__ CUtensorMap map,
                               const __grid_constant__ CopyOnlyParams p) {
  using namespace slipstream::kernels;
  extern __shared__ __align__(1024) unsigned char shared[];
  if (threadIdx.x != 0) return;
  const uint32_t ring = (SharedAddress(shared) + 1023) / 1024 * 1024;
  const uint32_t full = ring + p.stages * kCopyStageBytes;
  for (int i = 0; i < p.stages; ++i) BarrierInit(full + 8 * i, 1);
  FenceBarrierInit();
  const uint64_t policy = EvictFirstPolicy();
  const int begin = ShareBegin(p.units, gridDim.x, blockIdx.x);
  const int end = ShareBegin(p.units, gridDim.x, blockIdx.x + 1);
  const auto load = [&](int unit, int slot) {
    const uint32_t bar = full + 8 * slot, to = ring + slot * kCopyStageBytes;
    BarrierArriveExpect(bar, kCopyStageBytes);
    if (p.pieces == 0) {
      BulkCopy(to, reinterpret_cast<uint64_t>(p.data) + uint64_t{kCopyStageBytes} * unit,
               kCopyStageBytes, bar, policy);
      return;
    }
    const int rows = 128 / p.pieces;
    const int column = unit % p.k_blocks * p.pieces * 64, row = unit / p.k_blocks * rows;
    for (int i = 0; i < p.pieces; ++i) {
      TensorCopy(to + i * rows * 128, &map, column + i * 64, row, bar, policy);
    }
  };
  for (int i = 0; i < p.stages && begin + i < end; ++i) load(begin + i, i);
  int slot = 0;
  uint32_t parity = 0;
  for (int u = begin; u < end; ++u) {
    BarrierWait(full + 8 * slot, parity);
    if (u + p.stages < end) load(u + p.stages, slot);
    if (++slot == p.stages) slot = 0, parity ^= 1;
  }
}

// us of one pass over an [n, k] matrix (n a multiple of 128, k of 256), weights cold.
inline double TimeCopyOnly(const std::vector<const void*>& data, int n, int k, int grid, int stages,
                           CopyShape pieces) {
  SLIP_CUDA(
      cudaFuncSetAttribute(CopyOnlyKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 232448));
  const int shared = 2048 + stages * kCopyStageBytes;
  const int calls = static_cast<int>(data.size());
  std::vector<CUtensorMap> maps(calls);
  for (int i = 0; i < calls; ++i) {
    const int rows = 128 / std::max(pieces, 1);
    if (kernels::MakeTileMap({data[i], DType::kBF16, n, k, k, rows}, &maps[i]) !=
        kernels::KernelStatus::kOk) {
      std::fprintf(stderr, "no tensor map for %d x %d\n", n, k);
      std::exit(1);
    }
  }
  return TimeGraph(calls,
                   [&](cudaStream_t stream) {
                     for (int i = 0; i < calls; ++i) {
                       const CopyOnlyParams params{static_cast<const uint16_t*>(data[i]),
                                                   n / 128 * (k / 64), k / 64 / std::max(pieces, 1),
                                                   stages, pieces};
                       CopyOnlyKernel<<<grid, 32, shared, stream>>>(maps[i], params);
                     }
                     SLIP_CUDA(cudaGetLastError());
                   })
      .median_us;
}

}  // namespace slipstream::bench
