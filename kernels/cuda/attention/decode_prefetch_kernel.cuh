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
  Partial4* stage;
  float* out;
  float2* stats;

  __device__ DecodeShared(unsigned char* base, int stages, int warp) {
    unsigned char* at = base;
    barriers = SharedAddress(at) + warp * Traits::kMaxStages * 8;
    at += Traits::kBarrierBytes;
    queue = reinterpret_cast<uint64_t*>(at) + warp * Traits::kMaxAhead * Traits::kCopyLanes;
    at += Traits::kQueueBytes;
    stage = reinterpret_cast<Partial4*>(at);
    at += Traits::kStageOutBytes;
    stats = reinterpret_cast<float2*>(at);
    at += Traits::kStatBytes;
    out = reinterpret_cast<float*>(at);
    at += Traits::kMergeBytes;
    ring = (SharedAddress(at) + 127) / 128 * 128 + warp * stages * Traits::kStageBytes;
  }
};

// A segment with what its sequence adds.
template <typename Traits>
struct SegmentView {
  using Q = typename Traits::Q;
  DecodeSegment s;
  int kv_len;
  const Q* q;
  OutputRows<Traits> output;

  __device__ __forceinline__ SegmentView(const DecodeParams& p, const DecodeSegment& segment)
      : s(segment), kv_len(__ldg(p.kv_len + segment.seq)) {
    const int query0 = p.query_start ? __ldg(p.query_start + s.seq) : s.seq;
    const int query_len = p.query_start ? __ldg(p.query_start + s.seq + 1) - query0 : 1;
    const int first_row = (s.head_pass >> 16) * Traits::kRows;
    const int head0 = (s.head_pass & 0xFFFF) * p.group;
    const int64_t column = int64_t{head0} * Traits::kHeadDim;
    q = static_cast<const Q*>(p.q) + query0 * p.q_token_stride + column;
    output = {static_cast<Q*>(p.out) + query0 * p.out_token_stride + column,
              p.sinks ? p.sinks + head0 : nullptr,
              {first_row, min(p.group * query_len - first_row, Traits::kRows), p.group,
               kv_len - query_len + 1, p.sliding_window}};
  }
};

__device__ __forceinline__ DecodeSegment SegmentOf(const DecodeParams& p, int n,
                                                   const DecodeShare& share, int i) {
  return LoadSegment(p.plan + (i == 0 ? n : share.rest_begin + i - 1));
}

// Everything one CTA does with one segment but for the loads: this warp's tiles, the merge of the
// warps, and the result to the output or to the shares of the same row.
template <typename Traits>
__device__ __forceinline__ void RunSegment(const DecodeParams& p, const SegmentView<Traits>& v,
                                           const DecodeShared<Traits>& shared,
                                           TileStream<Traits>& stream, RowState<Traits>& state,
                                           int turn, bool split, int n, int split_last) {
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const RowMap& rows = v.output.rows;
  float2* stats = shared.stats + warp * Traits::kRows;
  const WarpRange range = RangeOfWarp<Traits::kWarps>(v.s.tile_begin, v.s.tile_end, warp, turn);
  if (range.begin < range.end) {
    state.Begin(p, v.q, rows);
    for (int t = range.begin; t < range.end; ++t) {
      const uint32_t tile = stream.Wait();
      state.Tile(p, tile, t * Traits::kTileTokens, rows, v.kv_len);
      stream.Release();
    }
    state.End();
    state.Store(shared.out + warp * Traits::kRows * Traits::kRowPitch, stats, rows.num_rows);
  } else if (lane < Traits::kRows) {
    stats[lane] = make_float2(kNoScore, 0.0f);
  }
  __syncthreads();
  const RowExchange<Traits> exchange(p.records, split_last + 1, split_last, rows.num_rows);
  constexpr int kVectors = Traits::kHeadDim / 4;
  for (int x = thread; x < rows.num_rows * kVectors; x += Traits::kThreads) {
    const int row = x / kVectors, d = x % kVectors * 4;
    const Partial4 a = CombineWarps<Traits>(shared.out, shared.stats, row, d);
    if (split) {
      exchange.Give(n, row, d, a);
    } else {
      v.output.Write(p, row, d, a);
    }
  }
  __syncthreads();  // before the next segment overwrites the partials
}

// Merges share n's part of the row that its last segment shares with others.
template <typename Traits>
__device__ __forceinline__ void MergeShare(const DecodeParams& p, int n, const DecodeShare& share,
                                           const DecodeShared<Traits>& shared) {
  const SegmentView<Traits> v(p, SegmentOf(p, n, share, NumSegments(share) - 1));
  const RowExchange<Traits> exchange(p.records, share.merge_first, share.merge_last,
                                     v.output.rows.num_rows);
  exchange.Take(p, v.output, n, shared.stage, threadIdx.x);
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kCtasPerSm)
    DecodePrefetchKernel(const __grid_constant__ DecodeParams p) {
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n = blockIdx.x;
  // Plan: two independent 16-byte loads, issued before anything else.
  const DecodeSegment first = LoadSegment(p.plan + n);
  const DecodeShare share = LoadShare(p, n);

  const DecodeShared<Traits> shared(shared_bytes, p.stages, warp);
  if (lane < p.stages) BarrierInit(shared.barriers + 8 * lane, 1);
  FenceBarrierInit();
  __syncwarp();
  LaunchDependents();

  // Old KV streams in before the dependency resolves; queries and the newest tokens wait for it.
  TileStream<Traits> stream(p, first, share, shared.ring, shared.barriers, shared.queue, warp,
                            lane);
  stream.Start();
  DependencyWait();

  RowState<Traits> state(lane);
  const int num_segments = NumSegments(share);
  for (int i = 0; i < num_segments; ++i) {
    const SegmentView<Traits> v(p, SegmentOf(p, n, share, i));
    const bool tail = i == 0 && (share.num_segments & kFirstIsTail) != 0;
    const bool split = i + 1 == num_segments && share.merge_first != share.merge_last;
    RunSegment<Traits>(p, v, shared, stream, state, i, tail || split, n,
                       tail ? n : share.merge_last);
  }
  if (share.merge_first != share.merge_last) MergeShare<Traits>(p, n, share, shared);
}

}  // namespace slipstream::kernels
