// Hopper's asynchronous copies and barriers as plain functions (PTX ISA 8.x): mbarriers, 1-D bulk
// copies from global to shared memory, bulk L2 prefetch, and the two instructions of programmatic
// dependent launch. Device code only.
#pragma once

#include <cstdint>

namespace slipstream::kernels {

__device__ __forceinline__ uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void BarrierInit(uint32_t bar, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
}

// Makes initialised barriers visible to the copy engine.
__device__ __forceinline__ void FenceBarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void BarrierArriveExpect(uint32_t bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void BarrierArrive(uint32_t bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

__device__ __forceinline__ void BarrierWait(uint32_t bar, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "WAIT_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra END_%=;\n"
      "bra WAIT_%=;\n"
      "END_%=:\n"
      "}\n" ::"r"(bar),
      "r"(parity)
      : "memory");
}

// KV is read once per step and must not displace what the next kernels will read.
__device__ __forceinline__ uint64_t EvictFirstPolicy() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// REQUIRES: addresses 16-byte aligned, bytes a multiple of 16.
__device__ __forceinline__ void BulkCopy(uint32_t dst, uint64_t src, uint32_t bytes, uint32_t bar,
                                         uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(dst),
      "l"(src), "r"(bytes), "r"(bar), "l"(policy)
      : "memory");
}

// For data that other CTAs read too: the L2 keeps it as it keeps anything.
__device__ __forceinline__ void BulkCopy(uint32_t dst, uint64_t src, uint32_t bytes, uint32_t bar) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(dst),
      "l"(src), "r"(bytes), "r"(bar)
      : "memory");
}

__device__ __forceinline__ void BulkPrefetchL2(uint64_t src, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(src), "r"(bytes) : "memory");
}

// The line of 128 bytes around p. Stays where it is written, unlike a load whose value is not
// needed yet: the assembler may move that behind a wait.
__device__ __forceinline__ void PrefetchLineL2(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p) : "memory");
}

// Waits until the grids this one depends on have finished and their writes are visible. Returns at
// once when the launch was not a dependent one.
__device__ __forceinline__ void DependencyWait() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// Lets the next grid of the stream start. It carries no memory ordering: the next grid still waits
// for this one to end before it reads results.
__device__ __forceinline__ void LaunchDependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

}  // namespace slipstream::kernels
