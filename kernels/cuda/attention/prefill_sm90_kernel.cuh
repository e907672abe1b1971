// prefill_sm90: prefill attention over the paged KV cache, one CTA per SM, its work items dealt out
// by the host. Warpgroup 0 loads, warpgroups 1 and 2 compute.
// Sources: FlashAttention-3, arXiv 2407.08608; others see kernels/api/paged_attention.h.
#pragma once

#include "kernels/cuda/attention/prefill_sm90_load.cuh"
#include "kernels/cuda/attention/prefill_sm90_math.cuh"

namespace slipstream::kernels {

template <int kRegisters>
__device__ __forceinline__ void ShrinkRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void GrowRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    PrefillKernel(const __grid_constant__ PrefillParams p) {
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  const PrefillShared<Traits> shared(shared_bytes);
  // Uniform for the compiler too: wgmma takes its descriptors from uniform registers.
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (threadIdx.x == 0) shared.InitBarriers();
  __syncthreads();
  LaunchDependents();
  DependencyWait();
  const int begin = __ldg(p.item_begin + blockIdx.x), end = __ldg(p.item_begin + blockIdx.x + 1);

  if (warpgroup == 0) {
    ShrinkRegisters<Traits::kLoadRegisters>();
    // The first consumer has the first turn.
    if constexpr (Traits::kPingPong) NamedBarrierArrive<256>(kTurnBarrier);
    if (threadIdx.x < 32) {
      KvLoader<Traits>(p, shared, threadIdx.x).Run(begin, end);
    } else {
      LoadQueries<Traits>(p, shared, begin, end, threadIdx.x - 32);
    }
  } else {
    GrowRegisters<Traits::kMathRegisters>();
    PrefillMath<Traits> math(p, shared, warpgroup - 1);
    uint32_t done = 0;
#pragma unroll 1
    for (int i = begin; i < end; ++i) {
      const PrefillItem item = LoadItem(p.items + i);
      math.Run(item, done, (i - begin) & 1);
      done += item.tile_end - item.tile_begin;
    }
  }
}

}  // namespace slipstream::kernels
