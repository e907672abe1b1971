// Elementwise kernels: each thread takes one vector of eight elements, or elements one by one where
// sizes or addresses do not allow that.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/gemm/gemm_epilogue.h"
#include "kernels/cuda/ops/activate.cuh"
#include "kernels/cuda/ops/ops.h"
#include "kernels/cuda/ops/vector_io.cuh"

namespace slipstream::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kMaxGridRows = 65535;

// Grid: (columns, rows).
template <typename T>
__global__ void __launch_bounds__(kThreads)
    GatedKernel(const T* gate_up, T* out, int64_t rows, int cols, bool gelu_tanh, bool interleaved,
                bool vector) {
  LaunchDependents();
  const int column = (blockIdx.x * kThreads + threadIdx.x) * (vector ? kVec : 1);
  const int64_t gate_at = interleaved ? GemmGateRow(column) : column;
  const int64_t up_at = gate_at + (interleaved ? 8 : cols);
  DependencyWait();
  if (column >= cols) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const T* gate = gate_up + row * 2 * cols + gate_at;
    const T* up = gate_up + row * 2 * cols + up_at;
    T* to = out + row * cols + column;
    if (!vector) {
      *to = FromFloat<T>(Activate(ToFloat(*gate), gelu_tanh) * ToFloat(*up));
      continue;
    }
    Raw<T, kVec> raw[2];
    raw[0].Load(gate);
    raw[1].Load(up);
    float g[kVec], u[kVec];
    raw[0].ToFloats(g);
    raw[1].ToFloats(u);
#pragma unroll
    for (int e = 0; e < kVec; ++e) g[e] = Activate(g[e], gelu_tanh) * u[e];
    raw[0].FromFloats(g);
    raw[0].Store(to);
  }
}

struct CapOp {
  float cap;
  __device__ float operator()(float x, float) const { return cap * tanhf(x / cap); }
};
struct AddOp {
  __device__ float operator()(float x, float y) const { return x + y; }
};
struct SecondOp {
  __device__ float operator()(float, float y) const { return y; }
};

// x = op(x, y). kReads: whether x and y are looked at.
template <typename X, typename Y, bool kReadX, bool kReadY, typename Op>
__global__ void __launch_bounds__(kThreads)
    MapKernel(X* x, const Y* y, int64_t elems, Op op, bool vector) {
  LaunchDependents();
  DependencyWait();
  const int64_t begin = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  if (vector && begin + kVec <= elems) {
    float a[kVec] = {}, b[kVec] = {};
    if constexpr (kReadX) LoadVec(x + begin, a);
    if constexpr (kReadY) LoadVec(y + begin, b);
#pragma unroll
    for (int e = 0; e < kVec; ++e) a[e] = op(a[e], b[e]);
    StoreVec(x + begin, a);
    return;
  }
  for (int64_t i = begin; i < begin + kVec && i < elems; ++i) {
    const float a = kReadX ? ToFloat(x[i]) : 0.0f;
    const float b = kReadY ? ToFloat(y[i]) : 0.0f;
    x[i] = FromFloat<X>(op(a, b));
  }
}

template <typename X, typename Y, bool kReadX, bool kReadY, typename Op>
KernelStatus LaunchMap(void* x, const void* y, int64_t elems, Op op, bool dependent,
                       cudaStream_t stream) {
  if (elems < 0 || (elems > 0 && (!x || (kReadY && !y)))) return KernelStatus::kInvalidArgument;
  if (elems == 0) return KernelStatus::kOk;
  const int64_t blocks = (elems + kThreads * kVec - 1) / (kThreads * kVec);
  if (blocks > INT32_MAX) return KernelStatus::kUnsupported;
  const LaunchShape shape{dim3(static_cast<unsigned>(blocks)), kThreads, 0, dependent};
  return LaunchBeside<MapKernel<X, Y, kReadX, kReadY, Op>>(shape, stream, static_cast<X*>(x),
                                                           static_cast<const Y*>(y), elems, op,
                                                           Aligned16(x) && Aligned16(y));
}

template <typename T>
KernelStatus LaunchGated(const GatedActivationSm90Params& p, bool dependent, cudaStream_t stream) {
  const bool vector = p.cols % kVec == 0 && Aligned16(p.gate_up) && Aligned16(p.out);
  const int64_t per_block = kThreads * (vector ? kVec : 1);
  if (p.cols > INT32_MAX - per_block) return KernelStatus::kUnsupported;
  const dim3 grid(static_cast<unsigned>((p.cols + per_block - 1) / per_block),
                  static_cast<unsigned>(std::min(p.rows, kMaxGridRows)));
  return LaunchBeside<GatedKernel<T>>(
      LaunchShape{grid, kThreads, 0, dependent}, stream, static_cast<const T*>(p.gate_up),
      static_cast<T*>(p.out), p.rows, static_cast<int>(p.cols), p.gelu_tanh, p.interleaved, vector);
}

}  // namespace

KernelStatus GatedActivationSm90(const GatedActivationSm90Params& p, bool dependent_launch,
                                 cudaStream_t stream) {
  if (p.rows < 0 || p.cols < 1) return KernelStatus::kInvalidArgument;
  if (p.rows == 0) return KernelStatus::kOk;
  if (!p.gate_up || !p.out) return KernelStatus::kInvalidArgument;
  if (p.interleaved && p.cols % 8 != 0) return KernelStatus::kUnsupported;
  if (p.dtype == DType::kBF16) return LaunchGated<__nv_bfloat16>(p, dependent_launch, stream);
  if (p.dtype == DType::kF16) return LaunchGated<__half>(p, dependent_launch, stream);
  return KernelStatus::kUnsupported;
}

KernelStatus SoftCapSm90(float* x, int64_t elems, float cap, bool dependent_launch,
                         cudaStream_t stream) {
  if (!(cap > 0)) return KernelStatus::kInvalidArgument;
  return LaunchMap<float, float, true, false>(x, nullptr, elems, CapOp{cap}, dependent_launch,
                                              stream);
}

KernelStatus AddSm90(void* x, DType x_dtype, const void* y, DType y_dtype, int64_t elems,
                     bool dependent_launch, cudaStream_t stream) {
  const bool wide = x_dtype == DType::kF32;
  if (!wide && x_dtype != y_dtype) return KernelStatus::kUnsupported;
  const auto add = [&]<typename X, typename Y>(X, Y) {
    return LaunchMap<X, Y, true, true>(x, y, elems, AddOp{}, dependent_launch, stream);
  };
  if (y_dtype == DType::kBF16) {
    return wide ? add(float{}, __nv_bfloat16{}) : add(__nv_bfloat16{}, __nv_bfloat16{});
  }
  if (y_dtype == DType::kF16) return wide ? add(float{}, __half{}) : add(__half{}, __half{});
  return KernelStatus::kUnsupported;
}

KernelStatus ConvertSm90(const void* in, DType in_dtype, void* out, DType out_dtype, int64_t elems,
                         bool dependent_launch, cudaStream_t stream) {
  const auto convert = [&]<typename X, typename Y>(X, Y) {
    return LaunchMap<X, Y, false, true>(out, in, elems, SecondOp{}, dependent_launch, stream);
  };
  if (in_dtype == DType::kF32) {
    if (out_dtype == DType::kBF16) return convert(__nv_bfloat16{}, float{});
    if (out_dtype == DType::kF16) return convert(__half{}, float{});
  }
  if (out_dtype == DType::kF32) {
    if (in_dtype == DType::kBF16) return convert(float{}, __nv_bfloat16{});
    if (in_dtype == DType::kF16) return convert(float{}, __half{});
  }
  return KernelStatus::kUnsupported;
}

}  // namespace slipstream::kernels
