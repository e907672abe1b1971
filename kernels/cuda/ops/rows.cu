// Row lookups: gather and embedding. A row is spread over the y dimension of the grid, so that one
// token of a wide model still keeps several multiprocessors busy.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/ops/ops.h"
#include "kernels/cuda/ops/vector_io.cuh"

namespace slipstream::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxColumnBlocks = 65535;

__global__ void __launch_bounds__(kThreads)
    GatherKernel(const __grid_constant__ GatherRowsSm90Params p) {
  LaunchDependents();
  const int64_t chunks = p.row_bytes / 16;
  const int64_t at = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  const int64_t row = __ldg(p.rows + blockIdx.x);
  DependencyWait();
  if (at >= chunks) return;
  uint4 value = make_uint4(0, 0, 0, 0);
  if (row >= 0 && row < p.num_source_rows) {
    value = __ldcg(static_cast<const uint4*>(p.x) + row * chunks + at);
  }
  static_cast<uint4*>(p.out)[int64_t{blockIdx.x} * chunks + at] = value;
}

// What a negative id stands for; the token may come from the kernel before.
__device__ __forceinline__ int64_t TokenOfSlot(const EmbedSm90Params& p, int64_t id) {
  const int64_t slot = -1 - id;
  if (!p.last_token || slot >= p.num_slots) return -1;
  const int64_t token = __ldcg(p.last_token + slot);
  return token < p.vocab_size ? token : -1;
}

template <typename In, typename Out>
__global__ void __launch_bounds__(kThreads)
    EmbedKernel(const __grid_constant__ EmbedSm90Params p, bool vector) {
  LaunchDependents();
  const int64_t at = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * (vector ? kVec : 1);
  const int64_t id = __ldg(p.ids + blockIdx.x);
  const auto* table = static_cast<const In*>(p.table);
  float x[kVec] = {};
  const auto load = [&](int64_t token) {
    if (token < 0 || token >= p.vocab_size || at >= p.hidden) return;
    if (vector) {
      LoadVec(table + token * p.hidden + at, x);
    } else {
      x[0] = ToFloat(table[token * p.hidden + at]);
    }
  };
  load(id);
  DependencyWait();
  if (at >= p.hidden) return;
  if (id < 0) load(TokenOfSlot(p, id));
  Out* out = static_cast<Out*>(p.out) + int64_t{blockIdx.x} * p.hidden + at;
#pragma unroll
  for (int e = 0; e < kVec; ++e) x[e] *= p.scale;
  if (vector) {
    StoreVec(out, x);
  } else {
    *out = FromFloat<Out>(x[0]);
  }
}

template <typename In, typename Out>
KernelStatus LaunchEmbed(const EmbedSm90Params& p, bool dependent, cudaStream_t stream) {
  const bool vector = p.hidden % kVec == 0 && Aligned16(p.table) && Aligned16(p.out);
  const int64_t per_block = kThreads * (vector ? kVec : 1);
  const int64_t blocks = (p.hidden + per_block - 1) / per_block;
  if (blocks > kMaxColumnBlocks || p.num_ids > INT32_MAX) return KernelStatus::kUnsupported;
  const dim3 grid(static_cast<unsigned>(p.num_ids), static_cast<unsigned>(blocks));
  return LaunchBeside<EmbedKernel<In, Out>>(LaunchShape{grid, kThreads, 0, dependent}, stream, p,
                                            vector);
}

template <typename In>
KernelStatus EmbedTo(const EmbedSm90Params& p, bool dependent, cudaStream_t stream) {
  switch (p.out_dtype) {
    case DType::kF32:
      return LaunchEmbed<In, float>(p, dependent, stream);
    case DType::kBF16:
      return LaunchEmbed<In, __nv_bfloat16>(p, dependent, stream);
    case DType::kF16:
      return LaunchEmbed<In, __half>(p, dependent, stream);
    default:
      return KernelStatus::kUnsupported;
  }
}

}  // namespace

KernelStatus GatherRowsSm90(const GatherRowsSm90Params& p, bool dependent_launch,
                            cudaStream_t stream) {
  if (p.num_rows < 0 || p.num_source_rows < 0 || p.row_bytes < 16 || p.row_bytes % 16 != 0) {
    return KernelStatus::kInvalidArgument;
  }
  if (p.num_rows == 0) return KernelStatus::kOk;
  if (!p.x || !p.rows || !p.out || !Aligned16(p.x) || !Aligned16(p.out)) {
    return KernelStatus::kInvalidArgument;
  }
  const int64_t blocks = (p.row_bytes / 16 + kThreads - 1) / kThreads;
  if (blocks > kMaxColumnBlocks || p.num_rows > INT32_MAX) return KernelStatus::kUnsupported;
  const dim3 grid(static_cast<unsigned>(p.num_rows), static_cast<unsigned>(blocks));
  return LaunchBeside<GatherKernel>(LaunchShape{grid, kThreads, 0, dependent_launch}, stream, p);
}

KernelStatus EmbedSm90(const EmbedSm90Params& p, bool dependent_launch, cudaStream_t stream) {
  if (p.num_ids < 0 || p.vocab_size < 1 || p.hidden < 1 || p.num_slots < 0) {
    return KernelStatus::kInvalidArgument;
  }
  if (p.num_ids == 0) return KernelStatus::kOk;
  if (!p.table || !p.ids || !p.out) return KernelStatus::kInvalidArgument;
  switch (p.table_dtype) {
    case DType::kF32:
      return EmbedTo<float>(p, dependent_launch, stream);
    case DType::kBF16:
      return EmbedTo<__nv_bfloat16>(p, dependent_launch, stream);
    case DType::kF16:
      return EmbedTo<__half>(p, dependent_launch, stream);
    default:
      return KernelStatus::kUnsupported;
  }
}

}  // namespace slipstream::kernels
