#include "kernels/cuda/attention/prefill_sm90_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchPrefill<__nv_bfloat16, 256>(const PrefillParams&, const PrefillLaunch&);
}
