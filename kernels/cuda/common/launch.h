// How every kernel of this folder is launched: status values instead of exceptions, optional
// programmatic dependent launch, shared-memory opt-in. Host code; any thread.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "kernels/api/types.h"

namespace slipstream::kernels {

struct LaunchShape {
  dim3 grid;
  int threads = 0;
  int shared_bytes = 0;
  bool dependent = false;  // may start while the previous kernel of the stream ends
};

template <typename... KernelArgs, typename... Args>
KernelStatus LaunchKernel(void (*kernel)(KernelArgs...), const LaunchShape& shape,
                          cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = shape.dependent ? 1 : 0;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, static_cast<KernelArgs>(args)...);
  return error == cudaSuccess ? KernelStatus::kOk : KernelStatus::kLaunchFailed;
}

// For the small kernels between products. The products' rings need the largest division of an SM
// for shared memory, and an SM must run empty before it changes it: a kernel that asks for the same
// one can start beside a ring, and a ring beside it. The attribute is set once per kernel.
template <auto kKernel, typename... Args>
KernelStatus LaunchBeside(const LaunchShape& shape, cudaStream_t stream, Args&&... args) {
  static const bool prepared =
      cudaFuncSetAttribute(kKernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                           cudaSharedmemCarveoutMaxShared) == cudaSuccess;
  if (!prepared) return KernelStatus::kLaunchFailed;
  return LaunchKernel(kKernel, shape, stream, std::forward<Args>(args)...);
}

}  // namespace slipstream::kernels
