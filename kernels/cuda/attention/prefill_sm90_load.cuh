// The load side of prefill attention: warp 0 streams K and V tiles through the ring, warps 1..3
// bring the query rows of the next work item. Both run ahead of the math as far as buffers allow,
// across work items.
#pragma once

#include "kernels/cuda/attention/prefill_sm90_params.h"
#include "kernels/cuda/attention/prefill_sm90_traits.cuh"

namespace slipstream::kernels {

// One warp. Lane l copies tokens [16 l, 16 l + 16) of each tile: a piece never crosses a block.
template <typename Traits>
class KvLoader {
 public:
  __device__ KvLoader(const PrefillParams& p, const PrefillShared<Traits>& shared, int lane)
      : p_(p), shared_(shared), lane_(lane) {}

  // Tiles from the last to the first, V one tile behind K: the order in which they are used.
  __device__ void Run(int begin, int end) {
    uint32_t done = 0;  // tiles of earlier items
    for (int i = begin; i < end; ++i) {
      const PrefillItem item = LoadItem(p_.items + i);
      const int last = item.tile_end - 1, count = item.tile_end - item.tile_begin;
      // The block table is read a tile ahead, so that its latency hides behind the waits.
      uint32_t behind = 0, current = Locate(item, last);
      for (int j = 0; j <= count; ++j) {
        const uint32_t next = j + 1 < count ? Locate(item, last - j - 1) : 0;
        if (j < count) {
          const TileSlot<Traits> slot(done + j);
          BarrierWait(shared_.KeysEmpty(slot.stage), slot.parity ^ 1);
          Copy(p_.k, current, shared_.Keys(slot.stage), shared_.KeysFull(slot.stage),
               item.kv_len - (last - j) * Traits::kTile);
        }
        if (j > 0) {
          const TileSlot<Traits> slot(done + j - 1);
          BarrierWait(shared_.ValuesEmpty(slot.stage), slot.parity ^ 1);
          Copy(p_.v, behind, shared_.Values(slot.stage), shared_.ValuesFull(slot.stage),
               item.kv_len - (last - j + 1) * Traits::kTile);
        }
        behind = current;
        current = next;
      }
      done += count;
    }
  }

 private:
  // Offset of this lane's piece of a tile from the start of the cache, in units of 128 bytes.
  __device__ __forceinline__ uint32_t Locate(const PrefillItem& item, int tile) const {
    const int piece = tile * Traits::kPieces + lane_;
    if (lane_ >= Traits::kPieces || piece * 16 >= item.kv_len) return 0;
    const int32_t* table = p_.block_tables + int64_t{item.seq} * p_.max_blocks;
    const uint32_t block = __ldg(table + (piece >> p_.block_shift));
    const uint32_t in_block = piece & ((1 << p_.block_shift) - 1);
    return block * p_.block_stride + item.kv_head * p_.head_stride +
           in_block * (Traits::kPieceBytes / 128);
  }

  // `valid` tokens of the sequence lie at and after the start of the tile. Only groups of 8 tokens
  // with a valid one are fetched.
  __device__ __forceinline__ void Copy(uint64_t base, uint32_t offset, uint32_t dst, uint32_t full,
                                       int valid) const {
    const int groups = (min(valid, Traits::kTile) + 7) >> 3;
    if (lane_ == 0) BarrierArriveExpect(full, groups * Traits::kGroupBytes);
    const int mine = min(groups - 2 * lane_, 2);
    if (mine > 0) {
      BulkCopy(dst + lane_ * Traits::kPieceBytes, base + uint64_t{offset} * 128,
               mine * Traits::kGroupBytes, full);
    }
  }

  const PrefillParams& p_;
  const PrefillShared<Traits>& shared_;
  int lane_;
};

// 16 bytes, or zeros if not `real`; `src` is not read then.
__device__ __forceinline__ void CopyChunk(uint32_t dst, const void* src, bool real) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src),
               "r"(real ? 16 : 0)
               : "memory");
}

// kQueryThreads threads, `thread` of 0..kQueryThreads - 1. Rows beyond the sequence become zeros.
template <typename Traits>
__device__ void LoadQueries(const PrefillParams& p, const PrefillShared<Traits>& shared, int begin,
                            int end, int thread) {
  using T = typename Traits::T;
  constexpr int kChunks = Traits::kRowBytes / 16;
  // x * inverse >> 16 is x / group while x * group < 2^16; here x < kRows + group <= 2 * kRows.
  static_assert(2 * Traits::kRows * kMaxPrefillGroup <= 1 << 16);
  const int inverse = (1 << 16) / p.group + 1;
  for (int i = begin; i < end; ++i) {
    const PrefillItem item = LoadItem(p.items + i);
    const int token0 = item.first_row / p.group, head0 = item.first_row - token0 * p.group;
    const T* q = static_cast<const T*>(p.q) +
                 (int64_t{item.first_token} + token0) * p.q_token_stride +
                 int64_t{item.kv_head} * p.group * Traits::kHeadDim;
    const int num_rows = item.query_len * p.group - item.first_row;
    BarrierWait(shared.QueryEmpty(), ((i - begin) & 1) ^ 1);
#pragma unroll 4
    for (int x = thread; x < Traits::kRows * kChunks; x += Traits::kQueryThreads) {
      const int row = x / kChunks, byte = x % kChunks * 16;
      const bool real = row < num_rows;
      const int r = head0 + (real ? row : 0);
      const int token = r * inverse >> 16, head = r - token * p.group;
      const T* src = q + token * p.q_token_stride + head * Traits::kHeadDim + byte / 2;
      CopyChunk(shared.query + Traits::RowOffset(row) +
                    (Traits::ByteOffset(byte) ^ ChunkSwizzle(row, Traits::kRowBytes) * 16),
                src, real);
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
    FenceAsyncProxy();
    BarrierArrive(shared.QueryFull());
  }
}

}  // namespace slipstream::kernels
