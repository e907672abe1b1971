// Host plan of the prefill-attention kernel: which CTA computes which tiles of query rows. Built
// once per step, uploaded, and used by every layer. Pure C++ without CUDA; deterministic; any
// thread; fails with kInvalidArgument when the step does not fit the capacity it was sized for.
//
// The rows of a sequence and KV head are (token, head of the group) pairs, row = token * group +
// head, so that a short chunk fills a tile with all its heads and they share each KV tile. A work
// item is kPrefillRows of them with the KV tiles that some row sees. Items are dealt out longest
// first, each to the CTA with the least work so far (LPT), which leaves CTAs equal within one item.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/api/types.h"

namespace slipstream::kernels {

inline constexpr int kPrefillRows = 128;      // query rows of a work item
inline constexpr int kMaxPrefillGroup = 128;  // query heads per KV head that the kernel takes

// Tokens in one KV tile of the kernel.
constexpr int PrefillTileTokens(int head_dim) { return head_dim > 128 ? 80 : 128; }

// 32 bytes, read by the kernel with two loads; has all the kernel needs to know of its sequence
// but for the block table.
struct alignas(16) PrefillItem {
  int32_t seq;
  int32_t kv_head;
  int32_t first_row;
  int32_t tile_begin;  // in tiles of PrefillTileTokens(head_dim)
  int32_t tile_end;
  int32_t first_token;  // of the sequence in q and out
  int32_t query_len;
  int32_t kv_len;
};

struct PrefillPlanShape {
  int num_kv_heads = 0;
  int group = 1;  // query heads per KV head
  int head_dim = 128;
  int sliding_window = 0;  // 0: all
  int grid = 132;          // CTAs: one per SM
  int max_seqs = 0;        // capacity: planned sequences
  int max_tokens = 0;      // capacity: query tokens of planned sequences
};

struct PrefillPlanInput {
  std::span<const int32_t> kv_len;       // [num_seqs], with this step's tokens
  std::span<const int32_t> query_start;  // [num_seqs + 1]
  // Sequences with fewer query tokens are left out (decode attention serves them).
  int min_query_len = 1;
};

struct PrefillPlanResult {
  KernelStatus status = KernelStatus::kOk;
  size_t used_bytes = 0;  // what has to be uploaded
  int num_items = 0;
};

// Bytes of device memory for a plan.
size_t PrefillPlanBytes(const PrefillPlanShape& shape);

// Writes int32 [grid + 1]: CTA c has items [c] to [c + 1]; then, at PrefillItemsOffset, the items.
// REQUIRES: buffer is 16-byte aligned and holds PrefillPlanBytes(shape); no kv_len is shorter than
// its query.
PrefillPlanResult BuildPrefillPlan(const PrefillPlanShape& shape, const PrefillPlanInput& in,
                                   std::span<std::byte> buffer);

// Byte offset of the items in a plan.
constexpr size_t PrefillItemsOffset(int grid) {
  return (static_cast<size_t>(grid) + 8) / 8 * 8 * sizeof(int32_t);
}

}  // namespace slipstream::kernels
