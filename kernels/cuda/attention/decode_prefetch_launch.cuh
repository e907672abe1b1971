// Turns run-time sizes into one instantiation of the kernel. Included by the files that each hold
// the instantiations of one dtype and head dim; decode_prefetch_launch.cu declares them.
#pragma once

#include <algorithm>

#include "kernels/cuda/attention/decode_prefetch_kernel.cuh"
#include "kernels/cuda/attention/tuning.h"
#include "kernels/cuda/common/launch.h"

namespace slipstream::kernels {

struct DecodeLaunch {
  int grid;
  int rows_per_pass;
  DecodeTuning tuning;
  cudaStream_t stream;
};

template <typename Traits>
KernelStatus LaunchTraits(DecodeParams params, const DecodeLaunch& launch) {
  const auto kernel = DecodePrefetchKernel<Traits>;
  // Once per process: the attribute belongs to the function, not to the launch.
  static const cudaError_t opted_in = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Traits::kSharedLimit);
  if (opted_in != cudaSuccess) return KernelStatus::kLaunchFailed;
  const int wanted = launch.tuning.stages > 0 ? launch.tuning.stages : Traits::kMaxStages;
  params.stages = wanted < Traits::MaxStages() ? wanted : Traits::MaxStages();
  const int room = Traits::kMaxAhead - 1;
  params.prefetch_distance = std::min(launch.tuning.prefetch_distance, room);
  const int start = launch.tuning.dependent_launch ? launch.tuning.prefetch_start : 0;
  params.prefetch_start = start < 0 ? start : std::clamp(start, params.prefetch_distance, room);
  LaunchShape shape{dim3(launch.grid), Traits::kThreads, Traits::SharedBytes(params.stages),
                    launch.tuning.dependent_launch};
  return LaunchKernel(kernel, shape, launch.stream, params);
}

template <typename Kv, typename Q, int kHeadDim>
KernelStatus LaunchDecode(const DecodeParams& params, const DecodeLaunch& launch) {
  if (launch.rows_per_pass == 8)
    return LaunchTraits<DecodeTraits<Kv, Q, kHeadDim, 1>>(params, launch);
  if (launch.rows_per_pass == 16) {
    return LaunchTraits<DecodeTraits<Kv, Q, kHeadDim, 2>>(params, launch);
  }
  if constexpr (kHeadDim <= 128) {
    return LaunchTraits<DecodeTraits<Kv, Q, kHeadDim, 4>>(params, launch);
  }
  return KernelStatus::kUnsupported;
}

}  // namespace slipstream::kernels
