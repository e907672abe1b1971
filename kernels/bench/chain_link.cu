#include "kernels/bench/chain_link.h"

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/launch.h"

namespace slipstream::bench {
namespace {

__global__ void TinyKernel(uint16_t* q) {
  kernels::LaunchDependents();
  kernels::DependencyWait();
  if (threadIdx.x < 8) q[threadIdx.x] ^= 1;
}

}  // namespace
}  // namespace slipstream::bench

extern "C" int slip_chain_link(uint16_t* q, int dependent, cudaStream_t stream) {
  using namespace slipstream;
  const kernels::KernelStatus status =
      kernels::LaunchKernel(bench::TinyKernel, {dim3(1), 32, 0, dependent != 0}, stream, q);
  if (status == kernels::KernelStatus::kOk) return cudaSuccess;
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? cudaErrorUnknown : error;
}
