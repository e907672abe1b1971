#include "kernels/cuda/gemm/gemm_chain_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchGemmChain<__half>(const GemmChainLaunch&);
}
