// The load side of decode attention: one warp's stream of KV tiles, from the plan to shared memory.
//
// Every warp owns a ring of stages and is its own producer: it knows from the plan which tiles it
// will ever read, so it issues their copies as far ahead as the ring allows, across rows and
// segments, and asks L2 for the tiles behind the ring. A cursor walks the tiles in order and turns
// them into addresses; with a prefetch distance, addresses wait in a small queue between the L2
// request and the copy, so no tile's address is computed and no line is requested twice.
#pragma once

#include "kernels/cuda/attention/decode_prefetch_params.h"
#include "kernels/cuda/attention/decode_prefetch_traits.cuh"
#include "kernels/cuda/common/async_copy.cuh"

namespace slipstream::kernels {

// Tiles [begin, end) of a segment that belong to one warp. The rotation by segment spreads short
// segments over all warps.
struct WarpRange {
  int begin, end;
};
template <int kWarps>
__device__ __forceinline__ WarpRange RangeOfWarp(int tile_begin, int tile_end, int warp,
                                                 int segment) {
  const int n = tile_end - tile_begin;
  const int w = (warp + segment) & (kWarps - 1);
  return {tile_begin + n * w / kWarps, tile_begin + n * (w + 1) / kWarps};
}

__device__ __forceinline__ DecodeSegment LoadSegment(const DecodeSegment* p) {
  const int4 x = __ldg(reinterpret_cast<const int4*>(p));
  return {x.x, x.y, x.z, x.w};
}

__device__ __forceinline__ DecodeShare LoadShare(const DecodeParams& p, int n) {
  const int4 x = __ldg(reinterpret_cast<const int4*>(p.plan) + gridDim.x + n);
  return {x.x, x.y, x.z, x.w};
}

template <typename Traits>
class TileStream {
 public:
  __device__ TileStream(const DecodeParams& p, const DecodeSegment& first, const DecodeShare& share,
                        uint32_t ring, uint32_t barriers, uint64_t* queue, int warp, int lane)
      : p_(p),
        policy_(EvictFirstPolicy()),
        ring_(ring),
        barriers_(barriers),
        queue_(queue + lane),
        rest_(p.plan + share.rest_begin),
        warp_(warp),
        lane_(lane),
        num_segments_(NumSegments(share)) {
    Enter(first);
  }

  // Fills the ring, then requests `prefetch_start` tiles behind it from L2: at least
  // `prefetch_distance`, which Release() keeps up. With a negative start nothing is loaded ahead.
  // Tiles that hold tokens of this step are loaded only after the grid before this one has ended.
  __device__ void Start() {
    bool waited = p_.prefetch_start < 0;
    if (waited) DependencyWait();
    for (int i = 0; i < p_.stages && Valid(); ++i) {
      if (!waited && HoldsNewTokens()) {
        DependencyWait();
        waited = true;
      }
      Issue(PackAddress());
      Step();
    }
    for (int i = 0; i < p_.prefetch_start && Valid(); ++i) Enqueue();
  }

  // Shared address of the next tile to consume; waits until it has arrived.
  __device__ __forceinline__ uint32_t Wait() {
    BarrierWait(barriers_ + 8 * read_stage_, read_parity_);
    return ring_ + read_stage_ * Traits::kStageBytes;
  }

  // Gives the consumed stage back and refills it. REQUIRES: all lanes have read the tile.
  __device__ __forceinline__ void Release() {
    __syncwarp();
    if (++read_stage_ == p_.stages) {
      read_stage_ = 0;
      read_parity_ ^= 1;
    }
    if (queue_head_ != queue_tail_) {
      Issue(lane_ < Traits::kCopyLanes ? queue_[SlotOf(queue_head_)] : 0);
      ++queue_head_;
      if (Valid() && queue_tail_ - queue_head_ < static_cast<uint32_t>(p_.prefetch_distance)) {
        Enqueue();
      }
    } else if (Valid()) {
      Issue(PackAddress());
      Step();
    }
  }

 private:
  static constexpr int kPieces = Traits::kPieces;

  __device__ __forceinline__ bool Valid() const { return tile_ < tile_end_; }

  __device__ __forceinline__ int SlotOf(uint32_t i) const {
    return (i & (Traits::kMaxAhead - 1)) * Traits::kCopyLanes;
  }

  // Makes `s` the current segment, or the first one after it with tiles for this warp.
  __device__ __forceinline__ void Enter(DecodeSegment s) {
    while (true) {
      const WarpRange r = RangeOfWarp<Traits::kWarps>(s.tile_begin, s.tile_end, warp_, segment_);
      tile_ = r.begin;
      tile_end_ = r.end;
      if (tile_ < tile_end_ || segment_ + 1 >= num_segments_) break;
      s = LoadSegment(rest_ + segment_);
      ++segment_;
    }
    if (!Valid()) return;
    table_ = p_.block_tables + int64_t{s.seq} * p_.max_blocks;
    kv_len_ = __ldg(p_.kv_len + s.seq);
    old_end_ = kv_len_ - 1;
    if (p_.query_start) {
      old_end_ = kv_len_ - __ldg(p_.query_start + s.seq + 1) + __ldg(p_.query_start + s.seq);
    }
    head_offset_ = (s.head_pass & 0xFFFF) * p_.head_stride_bytes;
    LoadWindow((tile_ * kPieces) >> p_.block_shift);
    ahead_ = Entry(window_ + 32);
  }

  // Not bounded by the sequence's length: that would put a second load before this one.
  __device__ __forceinline__ int Entry(int first_block) const {
    const int b = first_block + lane_;
    return b < p_.max_blocks ? __ldg(table_ + b) : 0;
  }

  // The warp keeps 32 block ids in registers and the next 32 already on their way.
  __device__ __forceinline__ void LoadWindow(int block) {
    window_ = block;
    blocks_ = Entry(block);
  }

  // Address of this lane's piece of the current tile, with its number of valid tokens - 1 in the
  // low four bits (addresses are 128-byte aligned); 0 if the lane has nothing to copy.
  __device__ __forceinline__ uint64_t PackAddress() {
    const int piece0 = tile_ * kPieces;
    if ((piece0 >> p_.block_shift) >= window_ + 32) {
      window_ += 32;
      blocks_ = ahead_;
      ahead_ = Entry(window_ + 32);
    }
    const int piece = piece0 + (lane_ & (kPieces - 1));
    const int in_window = (piece >> p_.block_shift) - window_;
    int block = __shfl_sync(~0u, blocks_, in_window & 31);
    if constexpr (kPieces > 1) {  // the second piece of a tile may be the first of the next window
      const int next = __shfl_sync(~0u, ahead_, in_window & 31);
      if (in_window >= 32) block = next;
    }
    const int tokens = min(kv_len_ - piece * 16, 16);
    if (lane_ >= Traits::kCopyLanes || tokens <= 0) return 0;
    const uint64_t base = lane_ >= kPieces ? p_.v : p_.k;
    const int in_block = piece & ((1 << p_.block_shift) - 1);
    return (base + block * p_.block_stride_bytes + head_offset_ + in_block * Traits::kPieceBytes) |
           static_cast<uint64_t>(tokens - 1);
  }

  // Groups of 8 tokens are contiguous, so only those with a valid token are fetched; 8-bit V is
  // transposed in groups of 16.
  __device__ __forceinline__ uint32_t BytesOf(uint64_t packed) const {
    if (packed == 0) return 0;
    if (Traits::k8Bit && lane_ >= kPieces) return Traits::kPieceBytes;
    return (static_cast<uint32_t>(packed & 8) + 8) * Traits::kRowBytes;
  }

  __device__ __forceinline__ void Step() {
    ++tile_;
    if (tile_ == tile_end_ && segment_ + 1 < num_segments_) {
      const DecodeSegment s = LoadSegment(rest_ + segment_);
      ++segment_;
      Enter(s);
    }
  }

  __device__ __forceinline__ void Issue(uint64_t packed) {
    const uint32_t bytes = BytesOf(packed);
    uint32_t total = bytes;
    if constexpr (Traits::kCopyLanes == 4) total += __shfl_xor_sync(~0u, total, 2);
    total += __shfl_xor_sync(~0u, total, 1);
    const uint32_t bar = barriers_ + 8 * write_stage_;
    if (lane_ == 0) BarrierArriveExpect(bar, total);
    if (bytes > 0) {
      BulkCopy(ring_ + write_stage_ * Traits::kStageBytes + lane_ * Traits::kPieceBytes,
               packed & ~uint64_t{15}, bytes, bar, policy_);
    }
    if (++write_stage_ == p_.stages) write_stage_ = 0;
  }

  // Only matters while the ring is first filled: later tiles follow the kernel's own wait.
  __device__ __forceinline__ bool HoldsNewTokens() const {
    return (tile_ + 1) * Traits::kTileTokens > old_end_;
  }

  __device__ __forceinline__ void Enqueue() {
    const uint64_t packed = PackAddress();
    const uint32_t bytes = BytesOf(packed);
    // A prefetch before the dependency resolves may bring the newest token's line too early; that
    // is harmless, L2 is coherent with the writes of the grid before.
    if (bytes > 0) BulkPrefetchL2(packed & ~uint64_t{15}, bytes);
    if (lane_ < Traits::kCopyLanes) queue_[SlotOf(queue_tail_)] = packed;
    ++queue_tail_;
    Step();
  }

  const DecodeParams& p_;
  uint64_t policy_;
  uint32_t ring_, barriers_;
  uint64_t* queue_;
  const DecodeSegment* rest_;
  const int32_t* table_ = nullptr;
  int64_t head_offset_ = 0;
  int warp_, lane_, num_segments_;
  int segment_ = 0, tile_ = 0, tile_end_ = 0, kv_len_ = 0, old_end_ = 0;
  int window_ = 0, blocks_ = 0, ahead_ = 0;
  int write_stage_ = 0, read_stage_ = 0;
  uint32_t read_parity_ = 0, queue_head_ = 0, queue_tail_ = 0;
};

}  // namespace slipstream::kernels
