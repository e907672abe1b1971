// A tile that is shared by exactly the CTAs of one cluster: its parts are merged through
// distributed shared memory. Each CTA owns the groups g with g mod cluster = its rank; the others
// send it their sums of these groups (PTX ISA, st.async), which complete a barrier of the owner.
// Against the exchange through global memory (gemm_stream_merge.cuh) it saves two trips to L2 and
// divides the merge among all CTAs. The sum runs along K as there: the bits are the same.
#pragma once

#include "kernels/cuda/common/async_copy.cuh"
#include "kernels/cuda/gemm/gemm_stream_traits.cuh"

namespace slipstream::kernels {

__device__ __forceinline__ uint32_t ClusterAddress(uint32_t shared, int rank) {
  uint32_t at;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(at) : "r"(shared), "r"(rank));
  return at;
}

// Arrives on `bar`, a barrier of the CTA that `at` lies in, with the 16 bytes it writes.
__device__ __forceinline__ void SendFloats(uint32_t at, const float* v, uint32_t bar) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(at),
      "r"(__float_as_uint(v[0])), "r"(__float_as_uint(v[1])), "r"(__float_as_uint(v[2])),
      "r"(__float_as_uint(v[3])), "r"(bar)
      : "memory");
}

__device__ __forceinline__ void ClusterBarrierWait(uint32_t bar, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "WAIT_%=:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra END_%=;\n"
      "bra WAIT_%=;\n"
      "END_%=:\n"
      "}\n" ::"r"(bar),
      "r"(parity)
      : "memory");
}

// All threads of the cluster arrive; who writes into another CTA waits first.
__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}
__device__ __forceinline__ void ClusterWait() {
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

// Groups that `rank` owns, of `total`.
__host__ __device__ inline int OwnedGroups(int total, int cluster, int rank) {
  return rank < total ? (total - rank - 1) / cluster + 1 : 0;
}

template <typename Traits>
class ClusterExchange {
 public:
  // What every CTA needs in shared memory for a product of m tokens.
  static int Bytes(int m, int cluster) {
    const int groups = (m + 7) / 8;
    return cluster > 1 ? OwnedGroups(groups, cluster, 0) * cluster * Traits::kGroupBytes : 0;
  }

  // `data`: 16-byte aligned; `full`: a barrier of one arrival.
  __device__ ClusterExchange(const GemmStreamParams& p, uint32_t data, uint32_t full)
      : cluster_(p.cluster),
        rank_(blockIdx.x % p.cluster),
        groups_((p.m + 7) / 8),
        data_(data),
        full_(full) {}

  // One thread, once; before ClusterArrive.
  __device__ __forceinline__ void Expect() const {
    BarrierInit(full_, 1);
    FenceBarrierInit();
    BarrierArriveExpect(full_,
                        OwnedGroups(groups_, cluster_, rank_) * cluster_ * Traits::kGroupBytes);
  }

  // Every multiplying thread: sends its sums, then merges and writes the groups of this CTA.
  // `finish_scale` runs before they are written.
  template <typename Output, typename FinishScale>
  __device__ __forceinline__ void Merge(
      const float (&acc)[Traits::kRowBlocks][4 * Traits::kTokenGroups], const Output& out,
      const FinishScale& finish_scale) const {
    static_assert(Traits::kRowBlocks == 1, "tall tiles are not shared by a cluster");
    ClusterWait();  // the barriers of the others are ready
#pragma unroll
    for (int g = 0; g < Traits::kTokenGroups; ++g) {
      if (g >= groups_) break;
      const int owner = g % cluster_;
      const uint32_t to = ClusterAddress(Place(g / cluster_, rank_), owner);
      SendFloats(to, &acc[0][4 * g], ClusterAddress(full_, owner));
    }
    if (rank_ >= groups_) return;  // a whole CTA: no barrier of its own is left out
    finish_scale();
    bool arrived = false;
#pragma unroll 1
    for (int g0 = rank_; g0 < groups_; g0 += 2 * cluster_) {
      typename Output::Held held[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        if (g0 + j * cluster_ < groups_) out.Load(g0 + j * cluster_, held[j]);
      }
      if (!arrived) ClusterBarrierWait(full_, 0);
      arrived = true;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int g = g0 + j * cluster_;
        if (g >= groups_) break;
        float sum[4] = {};
        for (int c = 0; c < cluster_; ++c) Add(Place(g / cluster_, c), sum);
        out.Write(0, g, sum, held[j]);
      }
    }
    out.Finish(rank_, cluster_);
  }

 private:
  // The sums of CTA `from` for the `which`-th group of the owner.
  __device__ __forceinline__ uint32_t Place(int which, int from) const {
    return data_ + ((which * cluster_ + from) * kGemmConsumers + threadIdx.x) * 16;
  }
  __device__ __forceinline__ static void Add(uint32_t at, float (&sum)[4]) {
    float v[4];
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
                 : "r"(at)
                 : "memory");
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += v[i];
  }

  int cluster_, rank_, groups_;
  uint32_t data_, full_;
};

}  // namespace slipstream::kernels
