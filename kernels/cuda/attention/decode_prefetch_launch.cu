// Validation and dispatch of decode_prefetch_sm90.
#include "kernels/cuda/attention/decode_prefetch.h"
#include "kernels/cuda/attention/decode_prefetch_launch.cuh"

namespace slipstream::kernels {

#define SLIP_DECODE_DIMS(KV, Q)                                                                    \
  extern template KernelStatus LaunchDecode<KV, Q, 64>(const DecodeParams&, const DecodeLaunch&);  \
  extern template KernelStatus LaunchDecode<KV, Q, 96>(const DecodeParams&, const DecodeLaunch&);  \
  extern template KernelStatus LaunchDecode<KV, Q, 128>(const DecodeParams&, const DecodeLaunch&); \
  extern template KernelStatus LaunchDecode<KV, Q, 256>(const DecodeParams&, const DecodeLaunch&);
SLIP_DECODE_DIMS(__nv_bfloat16, __nv_bfloat16)
SLIP_DECODE_DIMS(__half, __half)
SLIP_DECODE_DIMS(E4M3, __nv_bfloat16)
#undef SLIP_DECODE_DIMS

namespace {

template <typename Kv, typename Q>
KernelStatus ByHeadDim(int head_dim, const DecodeParams& params, const DecodeLaunch& launch) {
  switch (head_dim) {
    case 64:
      return LaunchDecode<Kv, Q, 64>(params, launch);
    case 96:
      return LaunchDecode<Kv, Q, 96>(params, launch);
    case 128:
      return LaunchDecode<Kv, Q, 128>(params, launch);
    case 256:
      return LaunchDecode<Kv, Q, 256>(params, launch);
    default:
      return KernelStatus::kUnsupported;
  }
}

// CTAs that merge a row wait for each other, so all of them must be resident at once.
bool GridIsResident(int grid) {
  int device = 0, sms = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device) == cudaSuccess &&
         grid <= sms;
}

KernelStatus Validate(const PagedAttentionParams& p, const DecodePlanShape& shape, const void* plan,
                      const void* scratch) {
  const KvCacheView& kv = p.kv;
  if (!p.q || !p.out || !kv.k || !kv.v || !p.block_tables || !p.kv_len || !plan || !scratch ||
      kv.num_kv_heads <= 0 || p.num_heads != kv.num_kv_heads * shape.group ||
      shape.num_kv_heads != kv.num_kv_heads || shape.head_dim != kv.head_dim ||
      shape.kv_dtype != kv.dtype || shape.sliding_window != p.sliding_window ||
      shape.max_query_len < p.max_query_len || p.num_seqs > shape.max_seqs || shape.grid <= 0 ||
      (p.max_query_len > 1 && !p.query_start)) {
    return KernelStatus::kInvalidArgument;
  }
  if (reinterpret_cast<uintptr_t>(kv.k) % 128 || reinterpret_cast<uintptr_t>(kv.v) % 128 ||
      kv.block_stride_bytes % 128 || kv.head_stride_bytes % 128 || p.q_token_stride % 4 ||
      p.out_token_stride % 4) {
    return KernelStatus::kInvalidArgument;
  }
  const bool size_ok =
      kv.block_size == 16 || kv.block_size == 32 || kv.block_size == 64 || kv.block_size == 128;
  const bool dim_ok =
      kv.head_dim == 64 || kv.head_dim == 96 || kv.head_dim == 128 || kv.head_dim == 256;
  if (kv.layout != KvLayout::kSwizzled || !size_ok || !dim_ok || shape.group > 16 ||
      p.max_query_len > 8) {
    return KernelStatus::kUnsupported;
  }
  return KernelStatus::kOk;
}

int BlockShift(int block_size) {
  int shift = 0;
  while ((16 << shift) < block_size) ++shift;
  return shift;
}

}  // namespace

KernelStatus DecodePrefetchSm90(const PagedAttentionParams& p, const DecodePlanShape& shape,
                                const void* plan, void* scratch, const DecodeTuning& tuning,
                                cudaStream_t stream) {
  const KernelStatus valid = Validate(p, shape, plan, scratch);
  if (valid != KernelStatus::kOk) return valid;
  DecodeParams d{};
  d.q = p.q;
  d.out = p.out;
  d.k = reinterpret_cast<uint64_t>(p.kv.k);
  d.v = reinterpret_cast<uint64_t>(p.kv.v);
  d.block_tables = p.block_tables;
  d.kv_len = p.kv_len;
  d.query_start = p.query_start;
  d.sinks = p.sinks;
  d.plan = static_cast<const DecodeSegment*>(plan);
  d.records = static_cast<float*>(scratch);
  d.q_token_stride = p.q_token_stride;
  d.out_token_stride = p.out_token_stride;
  d.block_stride_bytes = p.kv.block_stride_bytes;
  d.head_stride_bytes = p.kv.head_stride_bytes;
  d.max_blocks = p.max_blocks;
  d.group = shape.group;
  d.block_shift = BlockShift(p.kv.block_size);
  d.sliding_window = p.sliding_window;
  d.softcap = p.logit_softcap;
  const bool eight_bit = p.kv.dtype == DType::kF8E4M3;
  d.v_scale = eight_bit ? p.kv.v_scale : 1.0f;
  d.score_scale =
      p.scale * (eight_bit ? p.kv.k_scale : 1.0f) * (p.logit_softcap > 0 ? 1.0f : kLog2e);
  if (!GridIsResident(shape.grid)) return KernelStatus::kInvalidArgument;
  const DecodeLaunch launch{shape.grid, DecodeRowsPerPass(shape), tuning, stream};
  if (p.kv.dtype == DType::kBF16 && p.q_dtype == DType::kBF16) {
    return ByHeadDim<__nv_bfloat16, __nv_bfloat16>(p.kv.head_dim, d, launch);
  }
  if (p.kv.dtype == DType::kF16 && p.q_dtype == DType::kF16) {
    return ByHeadDim<__half, __half>(p.kv.head_dim, d, launch);
  }
  if (eight_bit && p.q_dtype == DType::kBF16) {
    return ByHeadDim<E4M3, __nv_bfloat16>(p.kv.head_dim, d, launch);
  }
  return KernelStatus::kUnsupported;
}

}  // namespace slipstream::kernels
