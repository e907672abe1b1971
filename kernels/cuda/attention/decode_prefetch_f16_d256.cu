#include "kernels/cuda/attention/decode_prefetch_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchDecode<__half, __half, 256>(const DecodeParams&, const DecodeLaunch&);
}
