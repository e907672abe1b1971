// Instantiations of the prefill-attention kernel. Included by the files that each hold those of one
// dtype and head dim; prefill_sm90_launch.cu declares them.
#pragma once

#include "kernels/cuda/attention/prefill_sm90_kernel.cuh"
#include "kernels/cuda/common/launch.h"

namespace slipstream::kernels {

struct PrefillLaunch {
  int grid;
  bool softcap;
  bool dependent;
  cudaStream_t stream;
};

template <typename Traits>
KernelStatus LaunchPrefillTraits(const PrefillParams& params, const PrefillLaunch& launch) {
  const auto kernel = PrefillKernel<Traits>;
  // Once per process: the attribute belongs to the function, not to the launch.
  static const cudaError_t opted_in = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Traits::kSharedBytes);
  if (opted_in != cudaSuccess) return KernelStatus::kLaunchFailed;
  const LaunchShape shape{dim3(launch.grid), Traits::kThreads, Traits::kSharedBytes,
                          launch.dependent};
  return LaunchKernel(kernel, shape, launch.stream, params);
}

template <typename T, int kHeadDim>
KernelStatus LaunchPrefill(const PrefillParams& params, const PrefillLaunch& launch) {
  return launch.softcap ? LaunchPrefillTraits<PrefillTraits<T, kHeadDim, true>>(params, launch)
                        : LaunchPrefillTraits<PrefillTraits<T, kHeadDim, false>>(params, launch);
}

}  // namespace slipstream::kernels
