// Launcher of the block copy kernel; contract in kernels/api/block_copy.h. `buffers` and `pairs`
// are device arrays.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/api/block_copy.h"

namespace slipstream::kernels {

KernelStatus BlockCopy(const BlockCopyParams& p, cudaStream_t stream);

}  // namespace slipstream::kernels
