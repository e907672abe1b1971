// Merging partial softmax results: the warps of a CTA through shared memory, and the CTAs that
// share a row through global scratch, inside the kernel.
//
// Between CTAs every word is its own message: the scratch rests at 0xFFFFFFFF, a NaN no arithmetic
// produces, and a word that differs has arrived. So there is no fence, counter or second round
// trip: a reader polls the words themselves, and puts the resting value back for the next launch.
// The row is cut into units of 32 output values; each unit is merged by one of the CTAs for which
// the row is the last work they have, so all of them share the merge. Readers wait for CTAs of the
// same grid, which is why the grid must be resident at once (the launcher's grid is).
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

// The split of one row over CTAs, as seen by one of them.
template <typename Traits>
class RowExchange {
 public:
  // `first`..`last` share the row; `last` holds its tail and merges nothing.
  __device__ RowExchange(float* scratch, int first, int last, int cta, int num_rows)
      : scratch_(scratch), first_(first), last_(last), cta_(cta) {
    units_ = num_rows * kUnitsPerRow;
    mergers_ = min(last - first, units_);
  }

  // The CTA's partial of four outputs: kept if this CTA merges them, posted otherwise.
  __device__ __forceinline__ void Give(int row, int d, const Partial4& a) const {
    const int unit = row * kUnitsPerRow + d / 32;
    if (unit % mergers_ != cta_ - first_) Post(Record(cta_, unit), d % 32, a);
  }

  // Merges and writes this CTA's units. `own(row, d)` is its partial; `stage` is shared memory for
  // one Partial4 per thread. All threads call it.
  template <typename Own>
  __device__ void Take(const DecodeParams& p, const OutputRows<Traits>& rows, const Own& own,
                       Partial4* stage, int thread) const {
    const int me = cta_ - first_;
    if (me >= mergers_) return;
    const int mine = (units_ - me + mergers_ - 1) / mergers_;  // units me, me + mergers_, ...
    // Eight lanes read one unit of one CTA; the other thread groups take other CTAs or units.
    const int per_unit = GroupsPerUnit(mine);
    const int group = thread / 8, at = thread % 8 * 4;
    const int slot = group / per_unit, part = group % per_unit;
    for (int u0 = 0; u0 < mine; u0 += kGroups / per_unit) {
      const int unit = me + (u0 + slot) * mergers_;
      const bool real = u0 + slot < mine;
      const int row = unit / kUnitsPerRow, d = unit % kUnitsPerRow * 32 + at;
      Partial4 a = real && part == 0 ? own(row, d) : EmptyPartial();
      if (real) Collect(unit, at, part, per_unit, a);
      __syncthreads();
      stage[thread] = a;
      __syncthreads();
      if (real && part == 0) {
        for (int i = 1; i < per_unit; ++i) {
          const Partial4& b = stage[thread + i * 8];
          Combine(a, b.max, b.sum, b.out);
        }
        rows.Write(p, row, d, a);
      }
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

  // A CTA can hold the tail of one row and the start of another: two places, tail first.
  __device__ __forceinline__ float* Record(int cta, int unit) const {
    const int64_t place = int64_t{cta} * 2 + (cta == last_ ? 0 : 1);
    return scratch_ + (place * kUnits + unit) * kRecordFloats;
  }

  // Adds the records of the other CTAs, `step` apart from `part`, a few loads in flight at a time.
  __device__ __forceinline__ void Collect(int unit, int at, int part, int step, Partial4& a) const {
    constexpr int kInFlight = 4;
    for (int c0 = first_ + part; c0 <= last_; c0 += kInFlight * step) {
      Words w[kInFlight];
#pragma unroll
      for (int i = 0; i < kInFlight; ++i) {
        const int c = c0 + i * step;
        if (c <= last_ && c != cta_) w[i] = Poll(Record(c, unit), at);
      }
#pragma unroll
      for (int i = 0; i < kInFlight; ++i) {
        const int c = c0 + i * step;
        if (c > last_ || c == cta_) continue;
        float* record = Record(c, unit);
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

  float* scratch_;
  int first_, last_, cta_, units_, mergers_;
};

}  // namespace slipstream::kernels
