// One instantiation of gemm_chain_sm90 per type and token tile, launched. Included by the files
// that each hold the instantiations of one type; gemm_chain.cc declares them.
#pragma once

#include "kernels/cuda/gemm/gemm_chain_kernel.cuh"
#include "kernels/cuda/gemm/gemm_stream_launch.cuh"

namespace slipstream::kernels {

template <typename Chain>
KernelStatus LaunchGemmChainTraits(const GemmChainLaunch& launch) {
  const auto kernel = GemmChainKernel<Chain>;
  // Once per process: the attributes belong to the function, not to the launch.
  static const bool prepared = PrepareGemmKernel(kernel, Chain::kSharedLimit);
  if (!prepared) return KernelStatus::kLaunchFailed;
  GemmChainParams params = launch.params;
  const GemmChainTuning& tuning = launch.tuning;
  const int tokens = tuning.token_stages > 0 ? tuning.token_stages : Chain::kTokenStages;
  params.token_stages = tokens < Chain::kMaxTokenStages ? tokens : Chain::kMaxTokenStages;
  const int most = Chain::WeightStagesBeside(params.token_stages);
  const bool chosen = tuning.weight_stages > 0 && tuning.weight_stages < most;
  params.weight_stages = chosen ? tuning.weight_stages : most;
  const LaunchShape shape{dim3(launch.grid), Chain::kThreads,
                          Chain::SharedBytes(params.weight_stages, params.token_stages),
                          tuning.dependent_launch};
  return LaunchKernel(kernel, shape, launch.stream, params);
}

template <typename T>
KernelStatus LaunchGemmChain(const GemmChainLaunch& launch) {
  switch (launch.tokens) {
    case 8:
      return LaunchGemmChainTraits<GemmChainTraits<T, 8>>(launch);
    case 16:
      return LaunchGemmChainTraits<GemmChainTraits<T, 16>>(launch);
    case 32:
      return LaunchGemmChainTraits<GemmChainTraits<T, 32>>(launch);
    case 64:
      return LaunchGemmChainTraits<GemmChainTraits<T, 64>>(launch);
    default:
      return KernelStatus::kUnsupported;
  }
}

}  // namespace slipstream::kernels
