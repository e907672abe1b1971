#include "kernels/cuda/attention/prefill_sm90_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchPrefill<__half, 256>(const PrefillParams&, const PrefillLaunch&);
}
