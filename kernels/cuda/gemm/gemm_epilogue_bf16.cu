#include "kernels/cuda/gemm/gemm_stream_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchGemmEpilogue<__nv_bfloat16>(const GemmStreamVariant&,
                                                        const GemmStreamLaunch&);
}
