// Validation and dispatch of prefill_sm90.
#include <algorithm>

#include "kernels/cuda/attention/prefill_sm90.h"
#include "kernels/cuda/attention/prefill_sm90_launch.cuh"

namespace slipstream::kernels {

#define SLIP_PREFILL_DIMS(T)                                                                      \
  extern template KernelStatus LaunchPrefill<T, 64>(const PrefillParams&, const PrefillLaunch&);  \
  extern template KernelStatus LaunchPrefill<T, 96>(const PrefillParams&, const PrefillLaunch&);  \
  extern template KernelStatus LaunchPrefill<T, 128>(const PrefillParams&, const PrefillLaunch&); \
  extern template KernelStatus LaunchPrefill<T, 256>(const PrefillParams&, const PrefillLaunch&);
SLIP_PREFILL_DIMS(__nv_bfloat16)
SLIP_PREFILL_DIMS(__half)
#undef SLIP_PREFILL_DIMS

namespace {

constexpr float kLog2e = 1.4426950408889634f;

template <typename T>
KernelStatus ByHeadDim(int head_dim, const PrefillParams& params, const PrefillLaunch& launch) {
  switch (head_dim) {
    case 64:
      return LaunchPrefill<T, 64>(params, launch);
    case 96:
      return LaunchPrefill<T, 96>(params, launch);
    case 128:
      return LaunchPrefill<T, 128>(params, launch);
    case 256:
      return LaunchPrefill<T, 256>(params, launch);
    default:
      return KernelStatus::kUnsupported;
  }
}

bool Aligned(const void* p, uintptr_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

KernelStatus Validate(const PagedAttentionParams& p, const PrefillPlanShape& shape,
                      const void* plan, int num_items) {
  const KvCacheView& kv = p.kv;
  if (!p.q || !p.out || !kv.k || !kv.v || !p.block_tables || !plan || num_items < 0 ||
      kv.num_kv_heads <= 0 || shape.group < 1 || shape.grid < 1 ||
      p.num_heads != kv.num_kv_heads * shape.group || shape.num_kv_heads != kv.num_kv_heads ||
      shape.head_dim != kv.head_dim || shape.sliding_window != p.sliding_window ||
      p.sliding_window < 0 || !(p.scale > 0) || !(p.logit_softcap >= 0)) {
    return KernelStatus::kInvalidArgument;
  }
  if (!Aligned(kv.k, 128) || !Aligned(kv.v, 128) || kv.block_stride_bytes % 128 ||
      kv.head_stride_bytes % 128 || !Aligned(p.q, 16) || !Aligned(p.out, 16) ||
      p.q_token_stride % 8 || p.out_token_stride % 8 || !Aligned(plan, 16)) {
    return KernelStatus::kInvalidArgument;
  }
  const bool size_ok =
      kv.block_size == 16 || kv.block_size == 32 || kv.block_size == 64 || kv.block_size == 128;
  const bool dtype_ok =
      p.q_dtype == kv.dtype && (kv.dtype == DType::kBF16 || kv.dtype == DType::kF16);
  const bool reachable = kv.block_stride_bytes / 128 * kv.num_blocks < (int64_t{1} << 32);
  if (kv.layout != KvLayout::kSwizzled || !size_ok || !dtype_ok || !reachable ||
      shape.group > kMaxPrefillGroup) {
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

KernelStatus PrefillSm90(const PagedAttentionParams& p, const PrefillPlanShape& shape,
                         const void* plan, int num_items, bool dependent_launch,
                         cudaStream_t stream) {
  const KernelStatus valid = Validate(p, shape, plan, num_items);
  if (valid != KernelStatus::kOk || num_items == 0) return valid;
  const bool softcap = p.logit_softcap > 0;
  PrefillParams d{};
  d.q = p.q;
  d.out = p.out;
  d.k = reinterpret_cast<uint64_t>(p.kv.k);
  d.v = reinterpret_cast<uint64_t>(p.kv.v);
  d.block_tables = p.block_tables;
  d.sinks = p.sinks;
  d.item_begin = static_cast<const int32_t*>(plan);
  d.items = reinterpret_cast<const PrefillItem*>(static_cast<const std::byte*>(plan) +
                                                 PrefillItemsOffset(shape.grid));
  d.q_token_stride = p.q_token_stride;
  d.out_token_stride = p.out_token_stride;
  d.block_stride = static_cast<uint32_t>(p.kv.block_stride_bytes / 128);
  d.head_stride = static_cast<uint32_t>(p.kv.head_stride_bytes / 128);
  d.max_blocks = p.max_blocks;
  d.group = shape.group;
  d.block_shift = BlockShift(p.kv.block_size);
  d.sliding_window = p.sliding_window;
  d.score_scale = kLog2e * (softcap ? p.logit_softcap : p.scale);
  d.cap_scale = softcap ? 2.0f * kLog2e * p.scale / p.logit_softcap : 0.0f;
  // The plan gives the first CTAs an item each before any gets a second.
  const PrefillLaunch launch{std::min(shape.grid, num_items), softcap, dependent_launch, stream};
  return p.kv.dtype == DType::kBF16 ? ByHeadDim<__nv_bfloat16>(p.kv.head_dim, d, launch)
                                    : ByHeadDim<__half>(p.kv.head_dim, d, launch);
}

}  // namespace slipstream::kernels
