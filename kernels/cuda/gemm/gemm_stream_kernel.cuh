// gemm_stream_sm90: the weights are the A operand of warpgroup products, the tokens are columns.
// One warp copies, two warpgroups multiply. See gemm_stream.h.
#pragma once

#include "kernels/cuda/gemm/gemm_stream_fused.cuh"
#include "kernels/cuda/gemm/gemm_stream_merge.cuh"
#include "kernels/cuda/gemm/product.cuh"
#include "kernels/cuda/gemm/tensor_copy.cuh"

namespace slipstream::kernels {

// Ring of stages, each 64 columns of a weight tile and of the tokens. `full` counts the bytes of a
// stage, `empty` the warps that are done with it.
template <typename Traits>
struct GemmRing {
  uint32_t data, full, empty;
  int stages;

  __device__ GemmRing(unsigned char* shared, int n) : stages(n) {
    data = (SharedAddress(shared) + 1023) / 1024 * 1024;
    full = data + n * Traits::kStageBytes;
    empty = full + n * 8;
  }
  __device__ __forceinline__ void Init() const {
    for (int i = 0; i < stages; ++i) {
      BarrierInit(full + 8 * i, 1);
      BarrierInit(empty + 8 * i, kGemmConsumers / 32);
    }
    FenceBarrierInit();
  }
};

// A stage's place in the ring and how often the ring was passed.
struct RingSlot {
  int slot = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Next(int stages) {
    if (++slot == stages) slot = 0, parity ^= 1;
  }
};

// Where a unit lies: its tile of W, its tile of tokens, its 64 columns.
struct UnitCursor {
  int row_tile, token_tile, k_block;

  __device__ __forceinline__ UnitCursor(const GemmStreamParams& p, int unit) {
    const int tile = unit / p.k_blocks;
    k_block = unit - tile * p.k_blocks;
    row_tile = tile / p.token_tiles;
    token_tile = tile - row_tile * p.token_tiles;
  }
  __device__ __forceinline__ void Next(const GemmStreamParams& p) {
    if (++k_block < p.k_blocks) return;
    k_block = 0;
    if (++token_tile < p.token_tiles) return;
    token_tile = 0;
    ++row_tile;
  }
};

// The copying warp's first lane: walks the share, weights ahead of tokens while the dependency is
// open.
template <typename Traits>
class StageLoader {
 public:
  __device__ StageLoader(const GemmStreamParams& p, const CUtensorMap* weights,
                         const CUtensorMap* tokens, const GemmRing<Traits>& ring, int begin,
                         int end)
      : p_(p),
        weights_(weights),
        tokens_(tokens),
        ring_(ring),
        first_(p, begin),
        rest_(first_),
        units_(end - begin),
        ahead_(min(ring.stages, end - begin)) {
    // Weights of a product of one token tile are read once per step: do not displace the rest.
    policy_ = p.token_tiles == 1 ? EvictFirstPolicy() : EvictNormalPolicy();
    token_policy_ = EvictNormalPolicy();
  }

  // Fills the ring with weights and asks for a few stages more.
  __device__ __forceinline__ void LoadAhead() {
    for (int i = 0; i < ahead_; ++i) {
      BarrierArriveExpect(ring_.full + 8 * i, Traits::kStageBytes);
      Weights(rest_, i);
      rest_.Next(p_);
    }
    UnitCursor more = rest_;
    const int asked = min(p_.prefetch_stages, units_ - ahead_);
    for (int i = 0; i < asked; ++i) {
#pragma unroll
      for (int b = 0; b < Traits::kRowBlocks; ++b) {
        TensorPrefetchL2(weights_, Column(more), Row(more) + b * kGemmWeightRows);
      }
      more.Next(p_);
    }
  }

  // REQUIRES: the dependency has resolved.
  __device__ __forceinline__ void LoadRest() {
    for (int i = 0; i < ahead_; ++i) {
      Tokens(first_, i);
      first_.Next(p_);
    }
    RingSlot at;
    for (int i = ahead_; i < units_; ++i) {
      BarrierWait(ring_.empty + 8 * at.slot, at.parity);
      BarrierArriveExpect(ring_.full + 8 * at.slot, Traits::kStageBytes);
      Weights(rest_, at.slot);
      Tokens(rest_, at.slot);
      rest_.Next(p_);
      at.Next(ring_.stages);
    }
  }

 private:
  __device__ __forceinline__ int Column(const UnitCursor& u) const {
    return u.k_block * kGemmBlockK;
  }
  __device__ __forceinline__ int Row(const UnitCursor& u) const {
    return u.row_tile * Traits::kTileRows;
  }
  __device__ __forceinline__ void Weights(const UnitCursor& u, int slot) const {
#pragma unroll
    for (int b = 0; b < Traits::kRowBlocks; ++b) {
      TensorCopy(ring_.data + slot * Traits::kStageBytes + b * kGemmWeightRows * kGemmRowBytes,
                 weights_, Column(u), Row(u) + b * kGemmWeightRows, ring_.full + 8 * slot, policy_);
    }
  }
  __device__ __forceinline__ void Tokens(const UnitCursor& u, int slot) const {
    TensorCopy(ring_.data + slot * Traits::kStageBytes + Traits::kWeightBytes, tokens_, Column(u),
               u.token_tile * Traits::kTokens, ring_.full + 8 * slot, token_policy_);
  }

  const GemmStreamParams& p_;
  const CUtensorMap* weights_;
  const CUtensorMap* tokens_;
  const GemmRing<Traits>& ring_;
  UnitCursor first_, rest_;  // the next unit whose tokens, whose weights are loaded
  int units_, ahead_;
  uint64_t policy_, token_policy_;
};

// One stage: four steps of 16 columns for each 64-row block of this warpgroup.
template <typename Traits>
__device__ __forceinline__ void MultiplyStage(
    uint32_t stage, int warpgroup, float (&acc)[Traits::kRowBlocks][4 * Traits::kTokenGroups]) {
  const uint32_t rows = stage + warpgroup * Traits::kRowBlocks * 64 * kGemmRowBytes;
  const uint32_t tokens = stage + Traits::kWeightBytes;
  HoldAccumulators(acc);
  ProductFence();
#pragma unroll
  for (int k = 0; k < kGemmBlockK / 16; ++k) {
#pragma unroll
    for (int b = 0; b < Traits::kRowBlocks; ++b) {
      SwizzledProduct<typename Traits::T, Traits::kTokens>::Run(
          acc[b], SwizzledTile(rows + b * 64 * kGemmRowBytes + k * 32),
          SwizzledTile(tokens + k * 32));
    }
  }
  ProductFinish();
  HoldAccumulators(acc);
}

// The multiplying warps' walk over the share. `scratch`: the epilogue's kScratchFloats.
template <typename Traits>
__device__ __forceinline__ void MultiplyShare(const GemmStreamParams& p,
                                              const GemmRing<Traits>& ring, int begin, int end,
                                              float* scratch) {
  const int thread = threadIdx.x, me = blockIdx.x;
  // The compiler must see that all lanes agree: descriptors live in uniform registers.
  const int warpgroup = __shfl_sync(~0u, thread / 128, 0);
  const TokenScale<Traits> scale(p, scratch, thread);
  RingSlot at;
  for (int u = begin; u < end;) {
    const int tile = u / p.k_blocks, tile_begin = tile * p.k_blocks;
    const int tile_end = tile_begin + p.k_blocks, stop = min(end, tile_end);
    const bool whole = u == tile_begin && stop == tile_end;
    float acc[Traits::kRowBlocks][4 * Traits::kTokenGroups] = {};
    for (; u < stop; ++u) {
      BarrierWait(ring.full + 8 * at.slot, at.parity);
      MultiplyStage<Traits>(ring.data + at.slot * Traits::kStageBytes, warpgroup, acc);
      if (thread % 32 == 0) BarrierArrive(ring.empty + 8 * at.slot);
      at.Next(ring.stages);
    }
    const TileOutputOf<Traits> out(p, tile, thread, scratch);
    if (whole) {
      scale.Finish();
      out.WriteAll(acc);
      continue;
    }
    const int last = ShareOf(p.units, gridDim.x, tile_end - 1);
    const TileExchange<Traits> exchange(p, ShareOf(p.units, gridDim.x, tile_begin), last, thread);
    exchange.Give(me, out.groups(), acc);
    if (me == last) continue;
    scale.Finish();
    exchange.Take(me, out);  // the tile goes on in the next share: nothing is left of this one
    return;
  }
}

// Behind the barriers of the ring.
template <typename Traits>
__device__ __forceinline__ float* EpilogueScratch(unsigned char* shared,
                                                  const GemmRing<Traits>& ring) {
  return reinterpret_cast<float*>(shared + (ring.empty + 8 * ring.stages - SharedAddress(shared)));
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kCtasPerSm)
    GemmStreamKernel(const __grid_constant__ CUtensorMap weights,
                     const __grid_constant__ CUtensorMap tokens,
                     const __grid_constant__ GemmStreamParams p) {
  extern __shared__ __align__(1024) unsigned char shared_bytes[];
  const GemmRing<Traits> ring(shared_bytes, p.stages);
  const int begin = ShareBegin(p.units, gridDim.x, blockIdx.x);
  const int end = ShareBegin(p.units, gridDim.x, blockIdx.x + 1);
  const bool copies = threadIdx.x == kGemmConsumers;
  StageLoader<Traits> loader(p, &weights, &tokens, ring, begin, end);
  if (copies) {
    PrefetchTensorMap(&weights);
    PrefetchTensorMap(&tokens);
    ring.Init();
    // Weights depend on nothing: they stream in while the previous kernel ends.
    loader.LoadAhead();
    if (p.early_release) LaunchDependents();
  }
  __syncthreads();  // the barriers are ready
  // Tokens, and the scratch and output that earlier kernels may still use.
  DependencyWait();
  if (copies) {
    loader.LoadRest();
    // Everything this CTA reads is on its way: the next kernel's weights queue behind it.
    if (!p.early_release) LaunchDependents();
  } else if (threadIdx.x < kGemmConsumers) {
    MultiplyShare<Traits>(p, ring, begin, end, EpilogueScratch(shared_bytes, ring));
  }
}

}  // namespace slipstream::kernels
