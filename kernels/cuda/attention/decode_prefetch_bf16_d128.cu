#include "kernels/cuda/attention/decode_prefetch_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchDecode<__nv_bfloat16, __nv_bfloat16, 128>(const DecodeParams&,
                                                                      const DecodeLaunch&);
}
