// Merging partial softmax results: the warps of a CTA through shared memory, and the CTAs that
// share a row through global scratch, inside the kernel.
//
// Between CTAs every word is its own message: the scratch rests at 0xFFFFFFFF, a NaN no arithmetic
// produces, and a word that differs has arrived. So there is no fence, counter or second round
// trip: a reader polls the words themselves, and puts the resting value back for the next launch.
// The row is cut into units of 32 output values; each unit is merged by one of the row's shares
// (all but the one that holds its end), so the merge itself is shared. A CTA waits here for others
// of its grid, which have posted long before or finish at the same time; the launcher's grid is
// resident at once, so every wait ends.
#pragma once

#include "kernels/cuda/attention/decode_prefetch_params.h"
#include "kernels/cuda/attention/decode_prefetch_tile.cuh"

namespace slipstream::kernels {

inline constexpr uint32_t kResting = 0xFFFFFFFFu;
inline constexpr int kRecordFloats = 36;  // 32 values, maximum, sum, 2 of padding

struct Partial4 {
  float max, sum;
  float4 out;
};

__device__ __forceinline__ Partial4 EmptyPartial() {
  return {kNoScore, 0.0f, make_float4(0, 0, 0, 0)};
}

__device__ __forceinline__ void Combine(Partial4& a, float max, float sum, const float4& out) {
  const float m = fmaxf(a.max, max);
  const float fa = Exp2(a.max - m), fb = Exp2(max - m);
  a.max = m;
  a.sum = a.sum * fa + sum * fb;
  a.out.x = a.out.x * fa + out.x * fb;
  a.out.y = a.out.y * fa + out.y * fb;
  a.out.z = a.out.z * fa + out.z * fb;
  a.out.w = a.out.w * fa + out.w * fb;
}

// Four outputs of `row` from the warps' partials in shared memory.
template <typename Traits>
__device__ __forceinline__ Partial4 CombineWarps(const float* out, const float2* stats, int row,
                                                 int d) {
  float2 stat[Traits::kWarps];
  float m = kNoScore;
#pragma unroll
  for (int w = 0; w < Traits::kWarps; ++w) {
    stat[w] = stats[w * Traits::kRows + row];
    m = fmaxf(m, stat[w].x);
  }
  Partial4 a{m, 0.0f, make_float4(0, 0, 0, 0)};
#pragma unroll
  for (int w = 0; w < Traits::kWarps; ++w) {
    if (stat[w].y == 0.0f) continue;  // a warp without tiles left its outputs unwritten
    const float f = Exp2(stat[w].x - m);
    const float4 o =
        *reinterpret_cast<const float4*>(out + (w * Traits::kRows + row) * Traits::kRowPitch + d);
    a.sum += stat[w].y * f;
    a.out.x += o.x * f, a.out.y += o.y * f, a.out.z += o.z * f, a.out.w += o.w * f;
  }
  return a;
}

// Where the rows of a segment go.
template <typename Traits>
struct OutputRows {
  typename Traits::Q* out;  // first element of the KV head's heads in the sequence's first token
  const float* sinks;       // of the KV head's heads, or null
  RowMap rows;

  __device__ __forceinline__ void Write(const DecodeParams& p, int row, int d, Partial4 a) const {
    const int r = rows.first_row + row;
    float f = 1.0f;
    if (sinks && a.sum > 0) {
      const float sink = sinks[r % rows.group] * kLog2e;
      const float m = fmaxf(a.max, sink);
      f = Exp2(a.max - m);
      a.sum = a.sum * f + Exp2(sink - m + RowState<Traits>::kShift);
    }
    const float scale = a.sum > 0 ? f * p.v_scale / a.sum : 0.0f;
    uint2 packed;
    packed.x = Pack<typename Traits::Q>(a.out.x * scale, a.out.y * scale);
    packed.y = Pack<typename Traits::Q>(a.out.z * scale, a.out.w * scale);
    *reinterpret_cast<uint2*>(out + (r / rows.group) * p.out_token_stride +
                              (r % rows.group) * Traits::kHeadDim + d) = packed;
  }
};

__device__ __forceinline__ uint32_t Message(float x) {
  const uint32_t u = __float_as_uint(x);
  return u == kResting ? 0x7FFFFFFFu : u;
}

__device__ __forceinline__ void Post(float* record, int at, const Partial4& a) {
  asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(record + at),
               "r"(Message(a.out.x)), "r"(Message(a.out.y)), "r"(Message(a.out.z)),
               "r"(Message(a.out.w))
               : "memory");
  if (at == 0) {
    asm volatile("st.relaxed.gpu.global.v2.b32 [%0], {%1, %2};" ::"l"(record + 32),
                 "r"(Message(a.max)), "r"(Message(a.sum))
                 : "memory");
  }
}

struct Words {
  uint32_t o[4], s[2];
};

__device__ __forceinline__ Words Poll(const float* record, int at) {
  Words w;
  asm volatile("ld.relaxed.gpu.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(w.o[0]), "=r"(w.o[1]), "=r"(w.o[2]), "=r"(w.o[3])
               : "l"(record + at)
               : "memory");
  asm volatile("ld.relaxed.gpu.global.v2.b32 {%0, %1}, [%2];"
               : "=r"(w.s[0]), "=r"(w.s[1])
               : "l"(record + 32)
               : "memory");
  return w;
}

__device__ __forceinline__ bool Arrived(const Words& w) {
  return w.o[0] != kResting && w.o[1] != kResting && w.o[2] != kResting && w.o[3] != kResting &&
         w.s[0] != kResting && w.s[1] != kResting;
}

// The split of one row over shares: numbers `last` (the row's end) to `first` (its start).
template <typename Traits>
class RowExchange {
 public:
  __device__ RowExchange(float* records, int first, int last, int num_rows)
      : records_(records), first_(first), last_(last) {
    units_ = num_rows * kUnitsPerRow;
    mergers_ = min(first - last, units_);
  }

  // Posts four outputs of share n's partial.
  __device__ __forceinline__ void Give(int n, int row, int d, const Partial4& a) const {
    Post(Record(n, row * kUnitsPerRow + d / 32), d % 32, a);
  }

  // Merges and writes the units that fall to share n. `stage` is shared memory for one Partial4 per
  // eight threads. All threads of the CTA call it.
  __device__ void Take(const DecodeParams& p, const OutputRows<Traits>& rows, int n,
                       Partial4* stage, int thread) const {
    const int me = first_ - n;
    if (me >= mergers_) return;
    const int mine = (units_ - me + mergers_ - 1) / mergers_;  // units me, me + mergers_, ...
    // Eight lanes read one unit of one share; the other groups take other shares or other units.
    const int per_unit = GroupsPerUnit(mine);
    const int group = thread / 8, at = thread % 8 * 4;
    const int slot = group / per_unit, part = group % per_unit;
    for (int u0 = 0; u0 < mine; u0 += kGroups / per_unit) {
      const int unit = me + (u0 + slot) * mergers_;
      const bool real = u0 + slot < mine;
      Partial4 a = EmptyPartial();
      if (real) Collect(unit, at, part, per_unit, a);
      __syncwarp();
      for (int x = 8; x < 32 && x < 8 * per_unit; x *= 2) CombineLanes(a, x);
      if (per_unit > 4) {
        if (thread % 32 < 8) stage[thread / 32 * 8 + thread % 8] = a;
        __syncthreads();
        if (part == 0) {
          for (int i = 1; i < per_unit / 4; ++i) {
            const Partial4& b = stage[(thread / 32 + i) * 8 + thread % 8];
            Combine(a, b.max, b.sum, b.out);
          }
        }
        __syncthreads();
      }
      if (real && part == 0) rows.Write(p, unit / kUnitsPerRow, unit % kUnitsPerRow * 32 + at, a);
    }
  }

 private:
  static constexpr int kUnitsPerRow = Traits::kHeadDim / 32;
  static constexpr int kUnits = Traits::kRows * kUnitsPerRow;
  static constexpr int kGroups = Traits::kThreads / 8;

  __device__ static __forceinline__ int GroupsPerUnit(int units) {
    int n = kGroups;
    while (n > 1 && n * units > kGroups) n /= 2;
    return n;
  }

  __device__ static __forceinline__ void CombineLanes(Partial4& a, int x) {
    Partial4 b;
    b.max = __shfl_xor_sync(~0u, a.max, x);
    b.sum = __shfl_xor_sync(~0u, a.sum, x);
    b.out.x = __shfl_xor_sync(~0u, a.out.x, x);
    b.out.y = __shfl_xor_sync(~0u, a.out.y, x);
    b.out.z = __shfl_xor_sync(~0u, a.out.z, x);
    b.out.w = __shfl_xor_sync(~0u, a.out.w, x);
    Combine(a, b.max, b.sum, b.out);
  }

  // A share can hold the end of one row and the start of another: two places, the end first.
  __device__ __forceinline__ float* Record(int n, int unit) const {
    const int64_t place = int64_t{n} * 2 + (n == last_ ? 0 : 1);
    return records_ + (place * kUnits + unit) * kRecordFloats;
  }

  // Adds the records of shares last_ + part, last_ + part + step, ..., a few loads in flight.
  __device__ __forceinline__ void Collect(int unit, int at, int part, int step, Partial4& a) const {
    constexpr int kInFlight = 5;  // 132 shares over 32 groups of lanes: one round trip
    for (int n0 = last_ + part; n0 <= first_; n0 += kInFlight * step) {
      Words w[kInFlight];
#pragma unroll
      for (int i = 0; i < kInFlight; ++i) {
        if (n0 + i * step <= first_) w[i] = Poll(Record(n0 + i * step, unit), at);
      }
#pragma unroll
      for (int i = 0; i < kInFlight; ++i) {
        if (n0 + i * step > first_) continue;
        float* record = Record(n0 + i * step, unit);
        while (!Arrived(w[i])) w[i] = Poll(record, at);
        Reset(record, at);
        Combine(a, __uint_as_float(w[i].s[0]), __uint_as_float(w[i].s[1]),
                make_float4(__uint_as_float(w[i].o[0]), __uint_as_float(w[i].o[1]),
                            __uint_as_float(w[i].o[2]), __uint_as_float(w[i].o[3])));
      }
    }
  }

  // Only these eight lanes read the record. The maximum and sum are read by all of them, so they
  // are cleared once every lane has got through its own wait.
  __device__ __forceinline__ void Reset(float* record, int at) const {
    *reinterpret_cast<uint4*>(record + at) = make_uint4(kResting, kResting, kResting, kResting);
    __syncwarp(0xFFu << (threadIdx.x & 24));
    if (at == 0) *reinterpret_cast<uint2*>(record + 32) = make_uint2(kResting, kResting);
  }

  float* records_;
  int first_, last_, units_, mergers_;
};

}  // namespace slipstream::kernels
