#include "kernels/cuda/cache/block_copy.h"

#include "kernels/cuda/common/launch.h"

namespace slipstream::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectorsPerThread = 4;  // independent 16-byte loads in flight
constexpr int kChunkBytes = kThreads * kVectorsPerThread * 16;

// Grid: (pairs, chunks of a block, buffers).
__global__ void __launch_bounds__(kThreads) BlockCopyKernel(BlockCopyParams p) {
  const int32_t src = p.pairs[2 * blockIdx.x], dst = p.pairs[2 * blockIdx.x + 1];
  auto* base = static_cast<unsigned char*>(p.buffers[blockIdx.z]);
  const auto* from = reinterpret_cast<const uint4*>(base + src * p.block_stride_bytes);
  auto* to = reinterpret_cast<uint4*>(base + dst * p.block_stride_bytes);
  const int64_t vectors = p.block_bytes / 16;
  const int64_t first = int64_t{blockIdx.y} * (kChunkBytes / 16) + threadIdx.x;
  uint4 x[kVectorsPerThread];
#pragma unroll
  for (int i = 0; i < kVectorsPerThread; ++i) {
    if (first + i * kThreads < vectors) x[i] = __ldcs(from + first + i * kThreads);
  }
#pragma unroll
  for (int i = 0; i < kVectorsPerThread; ++i) {
    if (first + i * kThreads < vectors) __stcs(to + first + i * kThreads, x[i]);
  }
}

}  // namespace

KernelStatus BlockCopy(const BlockCopyParams& p, cudaStream_t stream) {
  if (p.num_pairs < 0 || p.num_buffers < 0 || p.block_bytes % 16 || p.block_stride_bytes % 16 ||
      p.block_bytes > p.block_stride_bytes) {
    return KernelStatus::kInvalidArgument;
  }
  if (p.num_pairs == 0 || p.num_buffers == 0 || p.block_bytes == 0) return KernelStatus::kOk;
  if (!p.buffers || !p.pairs) return KernelStatus::kInvalidArgument;
  const int64_t chunks = (p.block_bytes + kChunkBytes - 1) / kChunkBytes;
  if (p.num_buffers > 65535 || chunks > 65535) return KernelStatus::kUnsupported;
  const LaunchShape shape{dim3(p.num_pairs, static_cast<unsigned>(chunks), p.num_buffers), kThreads,
                          0, false};
  return LaunchKernel(BlockCopyKernel, shape, stream, p);
}

}  // namespace slipstream::kernels
