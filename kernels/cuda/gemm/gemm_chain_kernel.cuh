// gemm_chain_sm90: one warp copies weights, one copies tokens, two warpgroups multiply; all three
// walk the same products in the same order. See gemm_chain.h.
#pragma once

#include "kernels/cuda/gemm/gemm_chain_params.h"
#include "kernels/cuda/gemm/gemm_stream_kernel.cuh"

namespace slipstream::kernels {

template <typename T_, int kTokens_>
struct GemmChainTraits {
  using T = T_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kThreads = kGemmConsumers + 64;
  static constexpr int kWeightBytes = kGemmWeightRows * kGemmRowBytes;
  static constexpr int kTokenBytes = kTokens * kGemmRowBytes;
  static constexpr int kMaxWeightStages = 13, kMaxTokenStages = 16;
  // Tokens come from L2 in about a microsecond, in which a ring that is full of weights could be
  // multiplied: as many stages as that takes, and fewer where they are large.
  static constexpr int kTokenStages = kTokens == 8    ? 12
                                      : kTokens == 16 ? 10
                                      : kTokens == 32 ? 8
                                                      : 6;
  // The scratch of any epilogue: sums of the warps, then the scales.
  static constexpr int kScratchFloats = 256 + kTokens > 8 * kTokens ? 256 + kTokens : 8 * kTokens;
  static constexpr int kFixedBytes =
      1024 + 8 * (2 * kMaxWeightStages + 2 * kMaxTokenStages + 1) + 4 * kScratchFloats;
  // Not quite all of an SM's: the small kernels that follow start beside the chain.
  static constexpr int kSharedLimit = 232448 - 2048;

  static constexpr int WeightStagesBeside(int token_stages) {
    const int fit = (kSharedLimit - kFixedBytes - token_stages * kTokenBytes) / kWeightBytes;
    return fit < kMaxWeightStages ? fit : kMaxWeightStages;
  }
  static constexpr int SharedBytes(int weight_stages, int token_stages) {
    return kFixedBytes + weight_stages * kWeightBytes + token_stages * kTokenBytes;
  }
  static_assert(WeightStagesBeside(kTokenStages) >= 8);
  static_assert(kTokenBytes % 1024 == 0, "swizzled tiles start on multiples of 1024");
};

// A ring of stages of one kind in shared memory, and this thread's place in it. `full` counts the
// bytes of a stage, `empty` the warps that are done with it.
template <int kBytes>
struct ChainRing {
  uint32_t data, full, empty;
  int stages;
  RingSlot at;

  __device__ __forceinline__ void Init() const {
    for (int i = 0; i < stages; ++i) {
      BarrierInit(full + 8 * i, 1);
      BarrierInit(empty + 8 * i, kGemmConsumers / 32);
    }
  }
  __device__ __forceinline__ uint32_t stage() const { return data + at.slot * kBytes; }
  __device__ __forceinline__ uint32_t filled() const { return full + 8 * at.slot; }

  // Copying thread: the next stage is free and will hold kBytes. On the first pass none is waited
  // for: a new barrier counts as having passed the parity before its first.
  __device__ __forceinline__ void Acquire() const {
    BarrierWait(empty + 8 * at.slot, at.parity ^ 1);
    BarrierArriveExpect(filled(), kBytes);
  }
  __device__ __forceinline__ void Wait() const { BarrierWait(filled(), at.parity); }
  __device__ __forceinline__ void Release() const {
    if (threadIdx.x % 32 == 0) BarrierArrive(empty + 8 * at.slot);
  }
  __device__ __forceinline__ void Next() { at.Next(stages); }
};

// Shared memory of a CTA: both rings, `go` (the products before are done), the epilogues' scratch.
template <typename Traits>
struct ChainShared {
  ChainRing<Traits::kWeightBytes> weights;
  ChainRing<Traits::kTokenBytes> tokens;
  uint32_t go;
  float* scratch;

  __device__ ChainShared(unsigned char* shared, const GemmChainParams& c) {
    const uint32_t base = SharedAddress(shared);
    weights.stages = c.weight_stages;
    tokens.stages = c.token_stages;
    weights.data = (base + 1023) / 1024 * 1024;
    tokens.data = weights.data + c.weight_stages * Traits::kWeightBytes;
    weights.full = tokens.data + c.token_stages * Traits::kTokenBytes;
    weights.empty = weights.full + 8 * c.weight_stages;
    tokens.full = weights.empty + 8 * c.weight_stages;
    tokens.empty = tokens.full + 8 * c.token_stages;
    go = tokens.empty + 8 * c.token_stages;
    scratch = reinterpret_cast<float*>(shared + (go + 8 - base));
  }
  __device__ __forceinline__ void Init() const {
    weights.Init();
    tokens.Init();
    BarrierInit(go, 1);
    FenceBarrierInit();
  }
};

__device__ __forceinline__ uint32_t LoadAcquire(const uint32_t* at) {
  uint32_t x;
  asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(x) : "l"(at) : "memory");
  return x;
}

// Ordinary writes of this thread to global memory before bulk copies that are ordered after this,
// and bulk copies of this thread after what it has acquired.
__device__ __forceinline__ void FenceAsyncProxyGlobal() {
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

// Every multiplying thread, behind its last write of a product.
__device__ __forceinline__ void CountProductDone(uint32_t* counter) {
  FenceAsyncProxyGlobal();
  ConsumerSync();
  if (threadIdx.x == 0) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
  }
}

// The weights of all products, one after the other: nothing but a free stage is waited for.
template <typename Traits>
__device__ __forceinline__ void LoadChainWeights(const GemmChainParams& c,
                                                 ChainRing<Traits::kWeightBytes> ring) {
  const uint64_t policy = EvictFirstPolicy();
  if (c.early_release) LaunchDependents();
#pragma unroll 1
  for (int i = 0; i < c.count; ++i) {
    const GemmChainLink& link = c.links[i];
    if (static_cast<int>(blockIdx.x) >= link.grid) continue;
    const int begin = ShareBegin(link.p.units, link.grid, blockIdx.x);
    const int end = ShareBegin(link.p.units, link.grid, blockIdx.x + 1);
    UnitCursor at(link.p, begin);
#pragma unroll 1
    for (int u = begin; u < end; ++u) {
      const int row = at.row_tile * link.row_blocks * kGemmWeightRows;
      for (int b = 0; b < link.row_blocks; ++b) {
        ring.Acquire();
        TensorCopy(ring.stage(), &link.weights, at.k_block * kGemmBlockK, row + b * kGemmWeightRows,
                   ring.filled(), policy);
        ring.Next();
      }
      at.Next(link.p);
    }
  }
  // Everything this CTA streams is on its way: the next kernel's weights queue behind it.
  if (!c.early_release) LaunchDependents();
}

// The tokens of a product, once all CTAs are done with the one before.
template <typename Traits>
__device__ __forceinline__ void LoadChainTokens(const GemmChainParams& c,
                                                ChainRing<Traits::kTokenBytes> ring, uint32_t go) {
  const uint64_t policy = EvictNormalPolicy();
#pragma unroll 1
  for (int i = 0; i < c.count; ++i) {
    const GemmChainLink& link = c.links[i];
    if (static_cast<int>(blockIdx.x) >= link.grid) continue;
    if (i > 0) {
      // Ends: every CTA of the launch is resident, and no product waits for a later one.
      while (LoadAcquire(c.counters + i - 1) < static_cast<uint32_t>(c.links[i - 1].grid)) {
      }
      FenceAsyncProxyGlobal();
    }
    BarrierArrive(go);
    const int begin = ShareBegin(link.p.units, link.grid, blockIdx.x);
    const int end = ShareBegin(link.p.units, link.grid, blockIdx.x + 1);
    UnitCursor at(link.p, begin);
#pragma unroll 1
    for (int u = begin; u < end; ++u) {
      ring.Acquire();
      TensorCopy(ring.stage(), &link.tokens, at.k_block * kGemmBlockK, 0, ring.filled(), policy);
      ring.Next();
      at.Next(link.p);
    }
  }
  // The last CTA that waits for nothing more puts the counters back.
  if (atomicInc(c.counters + kGemmChainMax, gridDim.x - 1) == gridDim.x - 1) {
    for (int i = 0; i < kGemmChainMax; ++i) c.counters[i] = 0;
  }
}

// What MultiplyShare consumes: for every stage of tokens, kRowBlocks stages of weights.
template <typename Traits, typename Chain>
class ChainStages {
 public:
  __device__ explicit ChainStages(ChainShared<Chain>& shared) : shared_(shared) {}

  __device__ __forceinline__ void Multiply(
      int warpgroup, float (&acc)[Traits::kRowBlocks][4 * Traits::kTokenGroups]) {
    shared_.tokens.Wait();
    const uint32_t tokens = shared_.tokens.stage();
#pragma unroll
    for (int b = 0; b < Traits::kRowBlocks; ++b) {
      shared_.weights.Wait();
      const uint32_t rows = shared_.weights.stage() + warpgroup * 64 * kGemmRowBytes;
      HoldAccumulators(acc);
      ProductFence();
#pragma unroll
      for (int k = 0; k < kGemmBlockK / 16; ++k) MultiplyBlock<Traits>(rows, tokens, k, acc[b]);
      ProductFinish();
      HoldAccumulators(acc);
      shared_.weights.Release();
      shared_.weights.Next();
    }
    shared_.tokens.Release();
    shared_.tokens.Next();
  }

 private:
  ChainShared<Chain>& shared_;
};

template <typename Chain, int kRowBlocks, GemmEpilogueKind kKind>
__device__ __forceinline__ void MultiplyLink(const GemmChainLink& link,
                                             ChainShared<Chain>& shared) {
  using Traits = GemmStreamTraits<typename Chain::T, Chain::kTokens, kRowBlocks, kKind>;
  MultiplyShare<Traits>(link.p, ChainStages<Traits, Chain>(shared), blockIdx.x, link.grid,
                        shared.scratch);
}

// A plain product is one whose scale is 1.
template <typename Chain, int kRowBlocks>
__device__ __forceinline__ void MultiplyByKind(const GemmChainLink& link,
                                               ChainShared<Chain>& shared) {
  if (link.p.epilogue.kind == GemmEpilogueKind::kGated) {
    MultiplyLink<Chain, kRowBlocks, GemmEpilogueKind::kGated>(link, shared);
  } else {
    MultiplyLink<Chain, kRowBlocks, GemmEpilogueKind::kScale>(link, shared);
  }
}

template <typename Chain>
__device__ __forceinline__ void MultiplyChain(const GemmChainParams& c,
                                              ChainShared<Chain>& shared) {
  uint32_t parity = 0;
#pragma unroll 1
  for (int i = 0; i < c.count; ++i) {
    const GemmChainLink& link = c.links[i];
    if (static_cast<int>(blockIdx.x) >= link.grid) continue;
    BarrierWait(shared.go, parity);
    parity ^= 1;
    if (link.p.epilogue.kind == GemmEpilogueKind::kResidualNorm) {
      MultiplyLink<Chain, 1, GemmEpilogueKind::kResidualNorm>(link, shared);
    } else if (Chain::kTokens < 64 || link.row_blocks == 1) {
      MultiplyByKind<Chain, 1>(link, shared);
    } else if constexpr (Chain::kTokens == 64) {
      MultiplyByKind<Chain, 2>(link, shared);
    }
    if (i + 1 < c.count) CountProductDone(c.counters + i);
  }
}

template <typename Chain>
__global__ void __launch_bounds__(Chain::kThreads, 1)
    GemmChainKernel(const __grid_constant__ GemmChainParams c) {
  extern __shared__ __align__(1024) unsigned char shared_bytes[];
  ChainShared<Chain> shared(shared_bytes, c);
  const int thread = threadIdx.x;
  constexpr int kWeightThread = kGemmConsumers, kTokenThread = kGemmConsumers + 32;
  if (thread == kWeightThread) {
    shared.Init();
    for (int i = 0; i < c.count; ++i) PrefetchTensorMap(&c.links[i].weights);
  } else if (thread == kTokenThread) {
    for (int i = 0; i < c.count; ++i) PrefetchTensorMap(&c.links[i].tokens);
  }
  __syncthreads();  // the barriers are ready
  if (thread == kWeightThread) {
    // Weights depend on nothing: they stream in while the previous kernel ends.
    LoadChainWeights<Chain>(c, shared.weights);
    return;
  }
  // Tokens, and the scratch and output that earlier kernels may still use.
  DependencyWait();
  if (thread == kTokenThread) {
    LoadChainTokens<Chain>(c, shared.tokens, shared.go);
  } else if (thread < kGemmConsumers) {
    MultiplyChain<Chain>(c, shared);
  }
}

}  // namespace slipstream::kernels
