#include "kernels/cuda/attention/prefill_sm90_launch.cuh"

namespace slipstream::kernels {
template KernelStatus LaunchPrefill<__half, 96>(const PrefillParams&, const PrefillLaunch&);
}
