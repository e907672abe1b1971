// RMS norm, with an optional fused residual add: one CTA per row. The vector path keeps the row in
// registers, so that it is read once, with all of its loads in flight together; rows of up to 8192
// columns give each thread eight elements.
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
  float inv_cols;
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

// The elements of the normalised rows that one access of 16 bytes holds. Neighbouring threads take
// neighbouring groups, so that an access of a warp fills whole sectors in every array.
template <typename X>
constexpr int kGroup = 16 / sizeof(X);

template <int kElems>
__device__ __forceinline__ void LoadWeight(const float* weight, float (&w)[kElems]) {
#pragma unroll
  for (int i = 0; i < kElems / 4; ++i) {
    const float4 x = __ldg(reinterpret_cast<const float4*>(weight) + i);
    w[4 * i] = x.x, w[4 * i + 1] = x.y, w[4 * i + 2] = x.z, w[4 * i + 3] = x.w;
  }
}

// A thread's share of a row: kGroups groups, blockDim.x groups apart.
// X: type of x without a residual, of the residual with one. T: type of out and delta.
template <typename X, typename T, bool kResidual, int kGroups>
__global__ void __launch_bounds__(kMaxThreads) NormKernel(const __grid_constant__ NormArgs p) {
  constexpr int kElems = kGroup<X>;
  constexpr bool kWeightAhead = kGroups * kElems <= kVec;  // registers allow it
  LaunchDependents();
  const int64_t row = int64_t{blockIdx.x} * p.cols;
  const auto at = [&](int i) { return static_cast<int>(threadIdx.x + i * blockDim.x) * kElems; };
  if constexpr (kWeightAhead) {
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      if (at(i) < p.cols) PrefetchLineL2(p.weight + at(i));
    }
  }
  float v[kGroups][kElems], w[kWeightAhead ? kGroups : 1][kElems];
  DependencyWait();
  X* x = (kResidual ? static_cast<X*>(p.residual) : static_cast<X*>(const_cast<void*>(p.x))) + row;
  Raw<X, kElems> raw[kGroups];
  Raw<T, kElems> delta[kResidual ? kGroups : 1];
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    if (at(i) >= p.cols) continue;
    raw[i].Load(x + at(i));
    if constexpr (kResidual) delta[i].Load(static_cast<const T*>(p.x) + row + at(i));
    if constexpr (kWeightAhead) LoadWeight(p.weight + at(i), w[i]);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    if (at(i) >= p.cols) continue;
    raw[i].ToFloats(v[i]);
    if constexpr (kResidual) {
      float d[kElems];
      delta[i].ToFloats(d);
#pragma unroll
      for (int e = 0; e < kElems; ++e) v[i][e] = Rounded<X>(v[i][e] + d[e]);
      raw[i].FromFloats(v[i]);
      raw[i].Store(x + at(i));
    }
#pragma unroll
    for (int e = 0; e < kElems; ++e) sum += v[i][e] * v[i][e];
  }
  const float inv = rsqrtf(BlockSum(sum) * p.inv_cols + p.eps);
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    if (at(i) >= p.cols) continue;
    float(&weight)[kElems] = w[kWeightAhead ? i : 0];
    if constexpr (!kWeightAhead) LoadWeight(p.weight + at(i), weight);
#pragma unroll
    for (int e = 0; e < kElems; ++e) v[i][e] = v[i][e] * inv * weight[e];
    Raw<T, kElems> out;
    out.FromFloats(v[i]);
    out.Store(static_cast<T*>(p.out) + row + at(i));
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
  const float inv = rsqrtf(BlockSum(sum) * p.inv_cols + p.eps);
  for (int i = threadIdx.x; i < p.cols; i += blockDim.x) {
    static_cast<T*>(p.out)[row + i] = FromFloat<T>(ToFloat(x[i]) * inv * p.weight[i]);
  }
}

template <typename X, typename T, bool kResidual>
KernelStatus LaunchNorm(const NormArgs& args, int64_t rows, bool dependent, cudaStream_t stream) {
  const bool vector = args.cols % kVec == 0 && Aligned16(args.x) && Aligned16(args.residual) &&
                      Aligned16(args.weight) && Aligned16(args.out);
  const bool one = args.cols <= kMaxThreads * kVec;  // vector of eight elements per thread
  const int elems_per_thread = !vector ? 4 : one ? kVec : kManyVectors * kVec;
  const int wanted = (args.cols + elems_per_thread - 1) / elems_per_thread;
  const int threads = std::min((wanted + 31) / 32 * 32, kMaxThreads);
  const LaunchShape shape{dim3(static_cast<unsigned>(rows)), threads, 0, dependent};
  constexpr int kFew = kVec / kGroup<X>;
  if (!vector) return LaunchBeside<ScalarNormKernel<X, T, kResidual>>(shape, stream, args);
  if (one) return LaunchBeside<NormKernel<X, T, kResidual, kFew>>(shape, stream, args);
  return LaunchBeside<NormKernel<X, T, kResidual, kManyVectors * kFew>>(shape, stream, args);
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
  const NormArgs args{
      p.x,  nullptr, p.weight, p.out, static_cast<int>(p.cols), 1.0f / static_cast<float>(p.cols),
      p.eps};
  return Dispatch<false>(p.x_dtype, p.out_dtype, args, p.rows, dependent_launch, stream);
}

KernelStatus AddRmsNormSm90(const AddRmsNormSm90Params& p, bool dependent_launch,
                            cudaStream_t stream) {
  const KernelStatus sizes = CheckSizes(p.rows, p.cols);
  if (sizes != KernelStatus::kOk) return sizes;
  if (p.rows == 0) return KernelStatus::kOk;
  if (!p.residual || !p.delta || !p.weight || !p.out) return KernelStatus::kInvalidArgument;
  const NormArgs args{p.delta,
                      p.residual,
                      p.weight,
                      p.out,
                      static_cast<int>(p.cols),
                      1.0f / static_cast<float>(p.cols),
                      p.eps};
  return Dispatch<true>(p.residual_dtype, p.dtype, args, p.rows, dependent_launch, stream);
}

}  // namespace slipstream::kernels
