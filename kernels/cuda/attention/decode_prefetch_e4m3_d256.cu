#include "kernels/cuda/attention/decode_prefetch_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchDecode<E4M3, __nv_bfloat16, 256>(const DecodeParams&,
                                                             const DecodeLaunch&);
}
