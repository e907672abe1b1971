// One instantiation of gemm_stream_sm90 per type, token tile and row blocks, launched. Included by
// the files that each hold the instantiations of one type; gemm_stream.cc declares them.
#pragma once

#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/gemm/gemm_stream_kernel.cuh"
#include "kernels/cuda/gemm/gemm_stream_variant.h"

namespace slipstream::kernels {

// All of the L1 as shared memory: an SM cannot change the division while a CTA runs, and the next
// product's ring is to fit beside this one's.
template <typename Kernel>
bool PrepareGemmKernel(Kernel kernel, int shared_limit) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_limit) ==
             cudaSuccess &&
         cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                              cudaSharedmemCarveoutMaxShared) == cudaSuccess;
}

template <typename Traits>
KernelStatus LaunchGemmTraits(const GemmStreamLaunch& launch) {
  const auto kernel = GemmStreamKernel<Traits>;
  // Once per process: the attributes belong to the function, not to the launch.
  static const bool prepared = PrepareGemmKernel(kernel, Traits::kSharedLimit);
  if (!prepared) return KernelStatus::kLaunchFailed;
  GemmStreamParams params = launch.params;
  const int most = Traits::StagesIn(Traits::kSharedLimit);
  const int half = Traits::StagesIn(Traits::kHalfLimit);
  const bool share = launch.tuning.dependent_launch && Traits::kCtasPerSm > 1;
  const int wanted = launch.tuning.stages > 0 ? launch.tuning.stages : share ? half : most;
  params.stages = wanted < most ? wanted : most;
  const LaunchShape shape{dim3(launch.grid), Traits::kThreads, Traits::SharedBytes(params.stages),
                          launch.tuning.dependent_launch};
  return LaunchKernel(kernel, shape, launch.stream, launch.weights, launch.tokens, params);
}

template <typename T>
KernelStatus LaunchGemmStream(const GemmStreamVariant& variant, const GemmStreamLaunch& launch) {
  switch (variant.tokens) {
    case 8:
      return LaunchGemmTraits<GemmStreamTraits<T, 8, 1>>(launch);
    case 16:
      return LaunchGemmTraits<GemmStreamTraits<T, 16, 1>>(launch);
    case 32:
      return LaunchGemmTraits<GemmStreamTraits<T, 32, 1>>(launch);
    case 64:
      return variant.row_blocks == 1 ? LaunchGemmTraits<GemmStreamTraits<T, 64, 1>>(launch)
                                     : LaunchGemmTraits<GemmStreamTraits<T, 64, 2>>(launch);
    default:
      return variant.row_blocks == 1 ? LaunchGemmTraits<GemmStreamTraits<T, 128, 1>>(launch)
                                     : LaunchGemmTraits<GemmStreamTraits<T, 128, 2>>(launch);
  }
}

// The same with something done to the sums: the token tiles of up to 64 tokens.
template <typename T, GemmEpilogueKind kKind>
KernelStatus LaunchGemmKind(const GemmStreamVariant& variant, const GemmStreamLaunch& launch) {
  switch (variant.tokens) {
    case 8:
      return LaunchGemmTraits<GemmStreamTraits<T, 8, 1, kKind>>(launch);
    case 16:
      return LaunchGemmTraits<GemmStreamTraits<T, 16, 1, kKind>>(launch);
    case 32:
      return LaunchGemmTraits<GemmStreamTraits<T, 32, 1, kKind>>(launch);
    case 64:
      if constexpr (kKind != GemmEpilogueKind::kResidualNorm) {
        if (variant.row_blocks == 2) {
          return LaunchGemmTraits<GemmStreamTraits<T, 64, 2, kKind>>(launch);
        }
      }
      return LaunchGemmTraits<GemmStreamTraits<T, 64, 1, kKind>>(launch);
    default:
      return KernelStatus::kUnsupported;
  }
}

template <typename T>
KernelStatus LaunchGemmEpilogue(const GemmStreamVariant& variant, const GemmStreamLaunch& launch) {
  switch (launch.params.epilogue.kind) {
    case GemmEpilogueKind::kResidualNorm:
      return LaunchGemmKind<T, GemmEpilogueKind::kResidualNorm>(variant, launch);
    case GemmEpilogueKind::kScale:
      return LaunchGemmKind<T, GemmEpilogueKind::kScale>(variant, launch);
    case GemmEpilogueKind::kGated:
      return LaunchGemmKind<T, GemmEpilogueKind::kGated>(variant, launch);
    default:
      return KernelStatus::kInvalidArgument;
  }
}

}  // namespace slipstream::kernels
