// decode_prefetch_sm90: paged decode attention that keeps HBM busy. One CTA per SM; the plan gives
// each the same number of KV tiles. Sources: see kernels/api/paged_attention.h.
#pragma once

#include "kernels/cuda/attention/decode_prefetch_merge.cuh"
#include "kernels/cuda/attention/decode_prefetch_stream.cuh"
#include "kernels/cuda/attention/decode_prefetch_tile.cuh"

namespace slipstream::kernels {

// Shared memory, carved once.
template <typename Traits>
struct DecodeShared {
  uint32_t barriers, ring;  // this warp's
  uint64_t* queue;          // this warp's
  float* out;
  float2* stats;

  __device__ DecodeShared(unsigned char* base, int stages, int warp) {
    unsigned char* at = base;
    barriers = SharedAddress(at) + warp * Traits::kMaxStages * 8;
    at += Traits::kBarrierBytes;
    queue = reinterpret_cast<uint64_t*>(at) + warp * Traits::kMaxAhead * Traits::kCopyLanes;
    at += Traits::kQueueBytes;
    stats = reinterpret_cast<float2*>(at);
    at += Traits::kStatBytes;
    out = reinterpret_cast<float*>(at);
    at += Traits::kMergeBytes;
    ring = (SharedAddress(at) + 127) / 128 * 128 + warp * stages * Traits::kStageBytes;
  }
};

template <typename Traits>
__device__ __forceinline__ RowMap RowsOf(const DecodeParams& p, const DecodeSegment& s, int kv_len,
                                         int query_len) {
  const int first_row = (s.head_pass >> 16) * Traits::kRows;
  return {first_row, min(p.group * query_len - first_row, Traits::kRows), p.group,
          kv_len - query_len + 1, p.sliding_window};
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    DecodePrefetchKernel(const __grid_constant__ DecodeParams p) {
  using Q = typename Traits::Q;
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  // Blocks start in order of their index, and the first CTA of a split row waits for later ones:
  // reversed, it waits for CTAs that started earlier.
  const int cta = gridDim.x - 1 - blockIdx.x;

  // Plan: two independent 16-byte loads, issued before anything else.
  const DecodeSegment first = LoadSegment(p.plan + cta);
  const int4 raw = __ldg(reinterpret_cast<const int4*>(p.plan) + gridDim.x + cta);
  const DecodeCta work{raw.x, raw.y, raw.z, raw.w};
  const int num_segments = work.num_segments & ~kFirstIsTail;

  const DecodeShared<Traits> shared(shared_bytes, p.stages, warp);
  if (lane < p.stages) BarrierInit(shared.barriers + 8 * lane, 1);
  FenceBarrierInit();
  __syncwarp();
  LaunchDependents();
  if (num_segments == 0) {
    DependencyWait();  // so that this grid never ends before the one it depends on
    return;
  }

  // Old KV streams in before the dependency resolves; queries and the newest tokens wait for it.
  TileStream<Traits> stream(p, first, num_segments, work.rest_begin, shared.ring, shared.barriers,
                            shared.queue, warp, lane);
  stream.Start();
  DependencyWait();

  RowState<Traits> state(lane);
  float* warp_out = shared.out + warp * Traits::kRows * Traits::kRowPitch;
  float2* warp_stats = shared.stats + warp * Traits::kRows;
  DecodeSegment s = first;
  for (int i = 0; i < num_segments; ++i) {
    if (i > 0) s = LoadSegment(p.plan + work.rest_begin + i - 1);
    const int kv_len = __ldg(p.kv_len + s.seq);
    const int query0 = p.query_start ? __ldg(p.query_start + s.seq) : s.seq;
    const int query_len = p.query_start ? __ldg(p.query_start + s.seq + 1) - query0 : 1;
    const RowMap rows = RowsOf<Traits>(p, s, kv_len, query_len);
    const int head0 = (s.head_pass & 0xFFFF) * p.group;

    // This warp's tiles.
    const WarpRange range = RangeOfWarp<Traits::kWarps>(s.tile_begin, s.tile_end, warp, i);
    if (range.begin < range.end) {
      const Q* q = static_cast<const Q*>(p.q) + query0 * p.q_token_stride +
                   int64_t{head0} * Traits::kHeadDim;
      state.Begin(p, q, rows);
      for (int t = range.begin; t < range.end; ++t) {
        const uint32_t tile = stream.Wait();
        state.Tile(p, tile, t * Traits::kTileTokens, rows, kv_len);
        stream.Release();
      }
      state.End();
      state.Store(warp_out, warp_stats, rows.num_rows);
    } else if (lane < Traits::kRows) {
      warp_stats[lane] = make_float2(kNoScore, 0.0f);
    }
    __syncthreads();

    // The CTA's result: to the output, or to the CTAs that share the row.
    const OutputRows<Traits> output{
        static_cast<Q*>(p.out) + query0 * p.out_token_stride + int64_t{head0} * Traits::kHeadDim,
        p.sinks ? p.sinks + head0 : nullptr, rows};
    const bool tail = i == 0 && (work.num_segments & kFirstIsTail) != 0;
    const bool split = i == num_segments - 1 && work.merge_first != work.merge_last;
    const auto own = [&](int row, int d) {
      return CombineWarps<Traits>(shared.out, shared.stats, row, d);
    };
    const int mine = rows.num_rows * (Traits::kHeadDim / 4);
    if (!tail && !split) {
      for (int x = thread; x < mine; x += Traits::kThreads) {
        const int row = x / (Traits::kHeadDim / 4), d = x % (Traits::kHeadDim / 4) * 4;
        output.Write(p, row, d, own(row, d));
      }
    } else {
      const int last = tail ? cta : work.merge_last;
      // A tail is never merged by its own CTA, so any earlier one stands for those that do.
      const int owner = tail ? cta - 1 : work.merge_first;
      const RowExchange<Traits> exchange(p.scratch, owner, last, cta, rows.num_rows);
      for (int x = thread; x < mine; x += Traits::kThreads) {
        const int row = x / (Traits::kHeadDim / 4), d = x % (Traits::kHeadDim / 4) * 4;
        exchange.Give(row, d, own(row, d));
      }
      if (split) {
        // The ring is drained: its memory holds the merge's intermediate values.
        auto* stage = reinterpret_cast<Partial4*>(shared_bytes + Traits::kFixedBytes);
        exchange.Take(p, output, own, stage, thread);
      }
    }
    __syncthreads();  // before the next segment overwrites the partials
  }
}

}  // namespace slipstream::kernels
