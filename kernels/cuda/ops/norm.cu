// RMS norm, with an optional fused residual add: one CTA per row. The vector path keeps the row in
// registers, so that it is read once; rows of up to 8192 columns give each thread one vector.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/ops/ops.h"
#include "kernels/cuda/ops/vector_io.cuh"

namespace slipstream::kernels {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kManyVectors = 4;  // vectors per thread of long rows
constexpr int64_t kMaxCols = int64_t{kMaxThreads} * kManyVectors * kVec;

struct NormArgs {
  const void* x;   // the rows, or what is added to the residual
  void* residual;  // null: plain norm
  const float* weight;
  void* out;
  int cols;
  float eps;
};

// Sum over the CTA, the same value in every thread. REQUIRES: blockDim.x is a multiple of 32.
__device__ __forceinline__ float BlockSum(float x) {
  __shared__ float warp_sums[32];
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = x;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  x = lane < blockDim.x / 32 ? warp_sums[lane] : 0.0f;
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
  return x;
}

__device__ __forceinline__ void LoadWeight(const float* weight, int at, float (&w)[kVec]) {
  LoadVec(weight + at, w);
}

// X: type of x without a residual, of the residual with one. T: type of out and delta.
template <typename X, typename T, bool kResidual, int kVectors>
__global__ void __launch_bounds__(kMaxThreads) NormKernel(const __grid_constant__ NormArgs p) {
  const int64_t row = int64_t{blockIdx.x} * p.cols;
  float v[kVectors][kVec], w[kVec];
  LaunchDependents();
  const int first = threadIdx.x * kVec;
  if (kVectors == 1 && first < p.cols) LoadWeight(p.weight, first, w);
  DependencyWait();
  X* x = kResidual ? static_cast<X*>(p.residual) : static_cast<X*>(const_cast<void*>(p.x));
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = first + i * blockDim.x * kVec;
    if (at >= p.cols) break;
    LoadVec(x + row + at, v[i]);
    if constexpr (kResidual) {
      float delta[kVec];
      LoadVec(static_cast<const T*>(p.x) + row + at, delta);
#pragma unroll
      for (int e = 0; e < kVec; ++e) v[i][e] = Rounded<X>(v[i][e] + delta[e]);
      StoreVec(x + row + at, v[i]);
    }
#pragma unroll
    for (int e = 0; e < kVec; ++e) sum += v[i][e] * v[i][e];
  }
  const float inv = rsqrtf(BlockSum(sum) / p.cols + p.eps);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = first + i * blockDim.x * kVec;
    if (at >= p.cols) break;
    if (kVectors > 1) LoadWeight(p.weight, at, w);
#pragma unroll
    for (int e = 0; e < kVec; ++e) v[i][e] = v[i][e] * inv * w[e];
    StoreVec(static_cast<T*>(p.out) + row + at, v[i]);
  }
}

// Rows of odd lengths or alignments: reads the row twice.
template <typename X, typename T, bool kResidual>
__global__ void __launch_bounds__(kMaxThreads)
    ScalarNormKernel(const __grid_constant__ NormArgs p) {
  LaunchDependents();
  DependencyWait();
  const int64_t row = int64_t{blockIdx.x} * p.cols;
  X* x = (kResidual ? static_cast<X*>(p.residual) : static_cast<X*>(const_cast<void*>(p.x))) + row;
  float sum = 0;
  for (int i = threadIdx.x; i < p.cols; i += blockDim.x) {
    float v = ToFloat(x[i]);
    if constexpr (kResidual) {
      v = Rounded<X>(v + ToFloat(static_cast<const T*>(p.x)[row + i]));
      x[i] = FromFloat<X>(v);
    }
    sum += v * v;
  }
  const float inv = rsqrtf(BlockSum(sum) / p.cols + p.eps);
  for (int i = threadIdx.x; i < p.cols; i += blockDim.x) {
    static_cast<T*>(p.out)[row + i] = FromFloat<T>(ToFloat(x[i]) * inv * p.weight[i]);
  }
}

template <typename X, typename T, bool kResidual>
KernelStatus LaunchNorm(const NormArgs& args, int64_t rows, bool dependent, cudaStream_t stream) {
  const bool vector = args.cols % kVec == 0 && Aligned16(args.x) && Aligned16(args.residual) &&
                      Aligned16(args.weight) && Aligned16(args.out);
  const int elems_per_thread = !vector ? 4 : args.cols <= kMaxThreads * kVec ? kVec : 4 * kVec;
  const int wanted = (args.cols + elems_per_thread - 1) / elems_per_thread;
  const int threads = std::min((wanted + 31) / 32 * 32, kMaxThreads);
  const LaunchShape shape{dim3(static_cast<unsigned>(rows)), threads, 0, dependent};
  if (!vector) return LaunchKernel(ScalarNormKernel<X, T, kResidual>, shape, stream, args);
  if (elems_per_thread == kVec) {
    return LaunchKernel(NormKernel<X, T, kResidual, 1>, shape, stream, args);
  }
  return LaunchKernel(NormKernel<X, T, kResidual, kManyVectors>, shape, stream, args);
}

// `wide`: the type of the rows that are normalised.
template <bool kResidual>
KernelStatus Dispatch(DType wide, DType half, const NormArgs& args, int64_t rows, bool dependent,
                      cudaStream_t stream) {
  if (half == DType::kBF16 && wide == DType::kF32) {
    return LaunchNorm<float, __nv_bfloat16, kResidual>(args, rows, dependent, stream);
  }
  if (half == DType::kBF16 && wide == half) {
    return LaunchNorm<__nv_bfloat16, __nv_bfloat16, kResidual>(args, rows, dependent, stream);
  }
  if (half == DType::kF16 && wide == DType::kF32) {
    return LaunchNorm<float, __half, kResidual>(args, rows, dependent, stream);
  }
  if (half == DType::kF16 && wide == half) {
    return LaunchNorm<__half, __half, kResidual>(args, rows, dependent, stream);
  }
  return KernelStatus::kUnsupported;
}

KernelStatus CheckSizes(int64_t rows, int64_t cols) {
  if (rows < 0 || cols < 1) return KernelStatus::kInvalidArgument;
  return cols > kMaxCols || rows > INT32_MAX ? KernelStatus::kUnsupported : KernelStatus::kOk;
}

}  // namespace

KernelStatus RmsNormSm90(const RmsNormSm90Params& p, bool dependent_launch, cudaStream_t stream) {
  const KernelStatus sizes = CheckSizes(p.rows, p.cols);
  if (sizes != KernelStatus::kOk) return sizes;
  if (p.rows == 0) return KernelStatus::kOk;
  if (!p.x || !p.weight || !p.out) return KernelStatus::kInvalidArgument;
  const NormArgs args{p.x, nullptr, p.weight, p.out, static_cast<int>(p.cols), p.eps};
  return Dispatch<false>(p.x_dtype, p.out_dtype, args, p.rows, dependent_launch, stream);
}

KernelStatus AddRmsNormSm90(const AddRmsNormSm90Params& p, bool dependent_launch,
                            cudaStream_t stream) {
  const KernelStatus sizes = CheckSizes(p.rows, p.cols);
  if (sizes != KernelStatus::kOk) return sizes;
  if (p.rows == 0) return KernelStatus::kOk;
  if (!p.residual || !p.delta || !p.weight || !p.out) return KernelStatus::kInvalidArgument;
  const NormArgs args{p.delta, p.residual, p.weight, p.out, static_cast<int>(p.cols), p.eps};
  return Dispatch<true>(p.residual_dtype, p.dtype, args, p.rows, dependent_launch, stream);
}

}  // namespace slipstream::kernels
