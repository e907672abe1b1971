// Copies a bias to the 16-bit type of the outputs, for library products that take no other.
// Asynchronous, may be captured; any thread. Fails with kUnsupported for other types.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/api/types.h"

namespace slipstream::kernels {

// bias: [n] f32; out: [n] in `dtype`, kBF16 or kF16.
KernelStatus RoundBias(const float* bias, int64_t n, DType dtype, void* out, cudaStream_t stream);

}  // namespace slipstream::kernels
