// Validation and dispatch of gemm_chain_sm90.
#include "kernels/cuda/gemm/gemm_chain.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/cuda/gemm/gemm_chain_params.h"

namespace slipstream::kernels {

template <typename T>
KernelStatus LaunchGemmChain(const GemmChainLaunch& launch);
extern template KernelStatus LaunchGemmChain<__nv_bfloat16>(const GemmChainLaunch&);
extern template KernelStatus LaunchGemmChain<__half>(const GemmChainLaunch&);

KernelStatus GemmChainSm90(std::span<const GemmChainProduct> products,
                           const GemmChainTuning& tuning, void* workspace, uint32_t* counters,
                           cudaStream_t stream) {
  if (products.empty() || products.size() > kGemmChainMax || !counters ||
      tuning.weight_stages < 0 || tuning.token_stages < 0) {
    return KernelStatus::kInvalidArgument;
  }
  GemmChainLaunch chain{};
  chain.dtype_is_bf16 = products[0].weights && products[0].weights->dtype == DType::kBF16;
  for (const GemmChainProduct& product : products) {
    if (!product.weights) return KernelStatus::kInvalidArgument;
    if (product.args.m > kGemmEpilogueMaxTokens || product.args.m != products[0].args.m ||
        product.weights->dtype != products[0].weights->dtype) {
      return KernelStatus::kUnsupported;
    }
    GemmStreamVariant variant;
    GemmStreamLaunch plan{};
    const KernelStatus planned =
        PlanGemmStream(*product.weights, product.args, workspace, &variant, &plan);
    if (planned != KernelStatus::kOk) return planned;
    GemmChainLink& link = chain.params.links[chain.params.count++];
    link.weights = plan.weights;
    link.tokens = plan.tokens;
    link.p = plan.params;
    link.grid = plan.grid;
    link.row_blocks = variant.row_blocks;
    chain.tokens = variant.tokens;
    chain.grid = std::max(chain.grid, plan.grid);
  }
  chain.params.counters = counters;
  chain.params.early_release = tuning.early_release;
  chain.tuning = tuning;
  chain.stream = stream;
  return chain.dtype_is_bf16 ? LaunchGemmChain<__nv_bfloat16>(chain)
                             : LaunchGemmChain<__half>(chain);
}

}  // namespace slipstream::kernels
