#include "kernels/cuda/gemm/gemm_chain_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchGemmChain<__nv_bfloat16>(const GemmChainLaunch&);
}
