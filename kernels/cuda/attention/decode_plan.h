// Host plan of the decode-attention kernel: which CTA reads which tiles of KV. Built once per step
// and used by every layer. Pure C++ without CUDA; deterministic; any thread; fails with
// kInvalidArgument when the batch does not fit the capacity it was sized for.
//
// All tiles of the batch, row after row (row = sequence x KV head x pass of query rows), form one
// line (Stream-K, arXiv 2301.03598), cut into one share per CTA of a fixed grid: every SM reads the
// same number of bytes whatever the lengths. Where rows are fewer than CTAs, cuts are put at row
// boundaries if the shares stay equal: a CTA that serves two rows would be the last to finish. A
// row that crosses a cut is merged inside the kernel.
// The plan lives in device memory of bounded size, so one captured graph serves changing lengths.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/api/types.h"

namespace slipstream::kernels {

// 16 bytes, read by the kernel with one load.
struct alignas(16) DecodeSegment {
  int32_t seq;
  int32_t head_pass;   // kv_head | pass << 16
  int32_t tile_begin;  // in tiles of TileTokens(kv_dtype)
  int32_t tile_end;
};

// Shares are numbered from the end of the line to its start, because CTAs start in order: of two
// shares of a row, the one that merges has the higher number.
struct alignas(16) DecodeShare {
  int32_t rest_begin;  // index in the plan of this share's second segment
  // Number of segments | kFirstIsTail if the first one is the end of a row that a higher share
  // begins.
  int32_t num_segments;
  // Shares of the row of the last segment, from the row's start to its end: merge_first >= n >
  // merge_last. Equal if that row is not split, or ends here.
  int32_t merge_first;
  int32_t merge_last;
};
inline constexpr int32_t kFirstIsTail = 1 << 30;
constexpr int NumSegments(const DecodeShare& s) { return s.num_segments & ~kFirstIsTail; }

struct DecodePlanShape {
  int num_kv_heads = 0;
  int group = 1;  // query heads per KV head
  int head_dim = 128;
  DType kv_dtype = DType::kBF16;
  int max_query_len = 1;
  int sliding_window = 0;  // 0: all
  int grid = 132;          // CTAs of the launch
  int max_seqs = 0;        // capacity
  // A CTA gets at least this many tiles before the next one is used.
  int min_tiles_per_cta = 4;
};

// Tokens in one tile of the kernel: 16, and 32 for 8-bit caches.
int DecodeTileTokens(DType kv_dtype);
// Query rows (query position x head of the group) that share one pass over the KV.
int DecodeRowsPerPass(const DecodePlanShape& shape);
int DecodeNumPasses(const DecodePlanShape& shape);

// Bytes of device memory for a plan, and for the scratch. Every byte of the scratch must be 0xFF
// before its first use; each launch leaves it that way.
size_t DecodePlanBytes(const DecodePlanShape& shape);
size_t DecodeScratchBytes(const DecodePlanShape& shape);

struct DecodePlanInput {
  std::span<const int32_t> kv_len;     // [num_seqs]
  std::span<const int32_t> query_len;  // [num_seqs], or empty: all 1
};

struct DecodePlanResult {
  KernelStatus status = KernelStatus::kOk;
  size_t used_bytes = 0;  // what has to be uploaded
};

// Writes [grid] first segments, [grid] DecodeShare, then the other segments. REQUIRES: buffer is
// 16-byte aligned and holds DecodePlanBytes(shape).
DecodePlanResult BuildDecodePlan(const DecodePlanShape& shape, const DecodePlanInput& in,
                                 std::span<std::byte> buffer);

}  // namespace slipstream::kernels
