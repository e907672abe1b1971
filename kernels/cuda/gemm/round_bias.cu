#include "kernels/cuda/gemm/round_bias.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/common/launch.h"

namespace slipstream::kernels {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void RoundBiasKernel(const float* bias, int64_t n, T* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) out[i] = static_cast<T>(bias[i]);
}

template <typename T>
KernelStatus Launch(const float* bias, int64_t n, void* out, cudaStream_t stream) {
  const LaunchShape shape{dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads)), kThreads};
  return LaunchKernel(RoundBiasKernel<T>, shape, stream, bias, n, static_cast<T*>(out));
}

}  // namespace

KernelStatus RoundBias(const float* bias, int64_t n, DType dtype, void* out, cudaStream_t stream) {
  if (dtype == DType::kBF16) return Launch<__nv_bfloat16>(bias, n, out, stream);
  if (dtype == DType::kF16) return Launch<__half>(bias, n, out, stream);
  return KernelStatus::kUnsupported;
}

}  // namespace slipstream::kernels
