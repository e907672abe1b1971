// Numbers of the sampling kernels. Weights are exp((x - max) / T) as 64-bit fixed point, so that
// their sums do not depend on the order of addition: one token always comes out, whatever the
// number of threads. Values and tokens as sort keys: best first, ties to the lowest token.
#pragma once

#include <cstdint>

namespace slipstream::kernels::sampling {

using Mass = unsigned long long;  // fixed point; a row's total stays below 2^61
constexpr float kUnit = 0x1p40f;  // the mass of the largest entry of a row
constexpr float kReach = 28.0f;   // entries this many temperatures below it have no mass

// The host's exponential, bit for bit: 2^n * exp(r) with a polynomial, no fused multiply-adds.
// REQUIRES: x <= 0 (or -inf).
__device__ __forceinline__ float ExpOfNegative(float x) {
  constexpr float kLog2e = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x > -87.0f ? x : -87.0f;
  const float n = __fsub_rn(__fadd_rn(__fmul_rn(clamped, kLog2e), kRound), kRound);
  const float r = __fsub_rn(__fsub_rn(clamped, __fmul_rn(n, kLn2High)), __fmul_rn(n, kLn2Low));
  float p = 1.9875691500e-4f;
  p = __fadd_rn(__fmul_rn(p, r), 1.3981999507e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 8.3334519073e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 4.1665795894e-2f);
  p = __fadd_rn(__fmul_rn(p, r), 1.6666665459e-1f);
  p = __fadd_rn(__fmul_rn(p, r), 5.0000001201e-1f);
  p = __fadd_rn(__fadd_rn(__fmul_rn(__fmul_rn(p, r), r), r), 1.0f);
  const float scale = __int_as_float((static_cast<int>(n) + 127) << 23);
  return x > -87.0f ? __fmul_rn(p, scale) : 0.0f;
}

__device__ __forceinline__ float WeightOf(float x, float max, float inv_temperature) {
  return ExpOfNegative(__fmul_rn(__fsub_rn(x, max), inv_temperature));
}

__device__ __forceinline__ Mass MassOf(float x, float max, float inv_temperature) {
  return static_cast<Mass>(__fmul_rn(WeightOf(x, max, inv_temperature), kUnit));
}

// Ascending with the value; -0 is 0. REQUIRES: no NaN.
__device__ __forceinline__ uint32_t OrderedBits(float x) {
  const uint32_t u = __float_as_uint(__fadd_rn(x, 0.0f));
  return u ^ (u >> 31 ? 0xFFFFFFFFu : 0x80000000u);
}
__device__ __forceinline__ float FromOrderedBits(uint32_t u) {
  return __uint_as_float(u ^ (u >> 31 ? 0x80000000u : 0xFFFFFFFFu));
}
constexpr float kLowestFinite = -3.402823466e+38f;

using Key = unsigned long long;
constexpr Key kNoKey = ~0ull;
__device__ __forceinline__ Key KeyOf(float x, int token) {
  return static_cast<Key>(~OrderedBits(x)) << 32 | static_cast<uint32_t>(token);
}
__device__ __forceinline__ float ValueOf(Key key) {
  return FromOrderedBits(~static_cast<uint32_t>(key >> 32));
}
__device__ __forceinline__ int TokenOfKey(Key key) { return static_cast<int>(key & 0xFFFFFFFFu); }

// The mass at which a draw of `uniform` in [0, 1) ends: entry i is drawn when the running mass
// reaches this with it. In [1, total]. REQUIRES: total >= 1.
__device__ __forceinline__ Mass DrawGoal(Mass total, float uniform) {
  const Mass goal = static_cast<Mass>(static_cast<double>(total) * uniform) + 1;
  return goal < total ? goal : total;
}
// The mass that top_p keeps at least.
__device__ __forceinline__ Mass KeepGoal(Mass total, float top_p) {
  const Mass goal = static_cast<Mass>(ceil(static_cast<double>(total) * top_p));
  return goal < 1 ? 1 : goal < total ? goal : total;
}

}  // namespace slipstream::kernels::sampling
