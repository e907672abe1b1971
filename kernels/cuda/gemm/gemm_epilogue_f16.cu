#include "kernels/cuda/gemm/gemm_stream_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchGemmEpilogue<__half>(const GemmStreamVariant&, const GemmStreamLaunch&);
}
