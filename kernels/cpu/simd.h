// Sixteen-lane vectors in four spellings: AVX-512, AVX2, NEON and plain loops. Kernel sources
// include this and are compiled once per instruction set, each into its own namespace, so no
// function compiled with wider instructions can be linked into a narrower path. For the same reason
// kernel sources call no inline function of the standard library or of types.h. No state, no
// allocation, any thread.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/api/types.h"

#ifndef SLIP_ISA
#error "compile kernel sources through kernels/cpu/CMakeLists.txt, which defines SLIP_ISA"
#endif

#define SLIP_INLINE [[gnu::always_inline]] static inline

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include "kernels/cpu/simd_avx512.h"
#elif defined(__AVX2__)
#include "kernels/cpu/simd_avx2.h"
#elif defined(SLIP_NEON)
#include "kernels/cpu/simd_neon.h"
#else
#include "kernels/cpu/simd_portable.h"
#endif

namespace slipstream::kernels::SLIP_ISA {

constexpr int kLanes = 16;

#ifndef SLIP_MASKED_LANES
// The first n lanes; the others are zero, or stay as they are.
SLIP_INLINE F32x16 LoadN(const float* p, int64_t n) {
  if (n >= kLanes) return Load(p);
  float t[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) t[i] = p[i];
  return Load(t);
}
SLIP_INLINE void StoreN(float* p, F32x16 v, int64_t n) {
  if (n >= kLanes) return Store(p, v);
  float t[kLanes];
  Store(t, v);
  for (int64_t i = 0; i < n; ++i) p[i] = t[i];
}
#endif

SLIP_INLINE int64_t MinOf(int64_t a, int64_t b) { return a < b ? a : b; }
SLIP_INLINE int64_t MaxOf(int64_t a, int64_t b) { return a > b ? a : b; }
SLIP_INLINE int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// acc lane n += sum over the G groups of w[g] byte [4n + j] * a[4g + j]; bytes are at most kMax.
template <int kMax, int G>
SLIP_INLINE I32x16 DotGroupsU8(I32x16 acc, const U8x64* w, const int8_t* a) {
#ifdef SLIP_SHORT_SUMS
  // Without an instruction for it, the step from int16 to int32 is put off as long as sums fit.
  constexpr int kFit = 32767 / (2 * 127 * kMax), kStep = kFit < G ? kFit : G;
  static_assert(kFit >= 1 && G % kStep == 0);
  for (int g = 0; g < G; g += kStep) {
    auto sums = ShortProducts(w[g], a + 4 * g);
    for (int i = g + 1; i < g + kStep; ++i) sums = AddI16(sums, ShortProducts(w[i], a + 4 * i));
    acc = AddShortSums(acc, sums);
  }
#else
  for (int g = 0; g < G; ++g) acc = DotU8(acc, w[g], a + 4 * g);
#endif
  return acc;
}

// SplitRange of types.h, forced inline (see the top of this file).
SLIP_INLINE Range SplitWork(int64_t total, Part part) {
  return {total * part.index / part.count, total * (part.index + 1) / part.count};
}

// e^x to about 2 ulp; arguments below -87 give about 1e-38, above 88 about 1.6e38. e^0 is
// exactly 1. Range reduction by ln 2 in two parts (Cody and Waite), then a degree-6 Taylor-like
// polynomial (the minimax coefficients of Cephes expf, Moshier 1992).
SLIP_INLINE F32x16 Exp(F32x16 x) {
  x = Min(Max(x, Set1(-87.0f)), Set1(88.0f));
  const F32x16 n = Round(Mul(x, Set1(1.44269504088896341f)));
  F32x16 r = Fma(n, Set1(-0.693359375f), x);
  r = Fma(n, Set1(2.12194440e-4f), r);
  F32x16 p = Set1(1.9875691500e-4f);
  p = Fma(p, r, Set1(1.3981999507e-3f));
  p = Fma(p, r, Set1(8.3334519073e-3f));
  p = Fma(p, r, Set1(4.1665795894e-2f));
  p = Fma(p, r, Set1(1.6666665459e-1f));
  p = Fma(p, r, Set1(5.0000001201e-1f));
  p = Fma(p, Mul(r, r), Add(r, Set1(1.0f)));
  return Mul(p, Pow2(n));
}

// tanh by e^2x, clamped where float32 tanh is 1; the small-argument cancellation costs 1e-7
// absolute, below the rounding of its uses (GELU, soft caps).
SLIP_INLINE F32x16 Tanh(F32x16 x) {
  const F32x16 e = Exp(Mul(Min(Max(x, Set1(-10.0f)), Set1(10.0f)), Set1(2.0f)));
  return Div(Sub(e, Set1(1.0f)), Add(e, Set1(1.0f)));
}

}  // namespace slipstream::kernels::SLIP_ISA
