// AVX2 + FMA + F16C spelling of kernels/cpu/simd.h: two 256-bit halves per vector.
#pragma once

#include <immintrin.h>

namespace slipstream::kernels::SLIP_ISA {

struct F32x16 {
  __m256 a, b;
};
struct I32x16 {
  __m256i a, b;
};
using U8x64 = I32x16;

constexpr int kVectorRegisters = 8;  // of 16 lanes, as everywhere: pairs

SLIP_INLINE F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
SLIP_INLINE void Store(float* p, F32x16 v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
SLIP_INLINE F32x16 Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
SLIP_INLINE F32x16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
SLIP_INLINE F32x16 Fma(F32x16 x, F32x16 y, F32x16 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
SLIP_INLINE F32x16 Mul(F32x16 x, F32x16 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
SLIP_INLINE F32x16 Add(F32x16 x, F32x16 y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
SLIP_INLINE F32x16 Sub(F32x16 x, F32x16 y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
SLIP_INLINE F32x16 Div(F32x16 x, F32x16 y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
SLIP_INLINE F32x16 Max(F32x16 x, F32x16 y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
SLIP_INLINE F32x16 Min(F32x16 x, F32x16 y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
SLIP_INLINE F32x16 Abs(F32x16 x) {
  const __m256 m = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(x.a, m), _mm256_and_ps(x.b, m)};
}
SLIP_INLINE F32x16 Round(F32x16 x) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, kMode), _mm256_round_ps(x.b, kMode)};
}
SLIP_INLINE __m256 Pow2Half(__m256 n) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
SLIP_INLINE F32x16 Pow2(F32x16 n) { return {Pow2Half(n.a), Pow2Half(n.b)}; }
SLIP_INLINE F32x16 SelectLanes(int64_t lo, int64_t hi, F32x16 x, F32x16 y) {
  float s[16], t[16];
  Store(s, x);
  Store(t, y);
  for (int64_t i = 0; i < 16; ++i) {
    if (i >= lo && i < hi) t[i] = s[i];
  }
  return Load(t);
}
SLIP_INLINE float ReduceAdd(F32x16 v) {
  const __m256 h = _mm256_add_ps(v.a, v.b);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
SLIP_INLINE float ReduceMax(F32x16 v) {
  const __m256 h = _mm256_max_ps(v.a, v.b);
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

SLIP_INLINE F32x16 LoadF16(const void* p) {
  const __m128i* h = static_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
}
SLIP_INLINE __m256 Bf16Half(__m128i h) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
SLIP_INLINE F32x16 LoadBf16(const void* p) {
  const __m128i* h = static_cast<const __m128i*>(p);
  return {Bf16Half(_mm_loadu_si128(h)), Bf16Half(_mm_loadu_si128(h + 1))};
}
SLIP_INLINE void LoadBf16Pairs(const void* p, F32x16* even, F32x16* odd) {
  const __m256i* h = static_cast<const __m256i*>(p);
  const __m256i x = _mm256_loadu_si256(h), y = _mm256_loadu_si256(h + 1);
  const __m256i m = _mm256_set1_epi32(static_cast<int>(0xffff0000));
  *even = {_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)),
           _mm256_castsi256_ps(_mm256_slli_epi32(y, 16))};
  *odd = {_mm256_castsi256_ps(_mm256_and_si256(x, m)), _mm256_castsi256_ps(_mm256_and_si256(y, m))};
}
SLIP_INLINE void StoreF16(void* p, F32x16 v) {
  __m128i* h = static_cast<__m128i*>(p);
  _mm_storeu_si128(h, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128(h + 1, _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
SLIP_INLINE __m256i RoundToBf16(__m256 v) {
  const __m256i u = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  return _mm256_srli_epi32(r, 16);
}
SLIP_INLINE void StoreBf16(void* p, F32x16 v) {
  const __m256i x = RoundToBf16(v.a), y = RoundToBf16(v.b);
  _mm256_storeu_si256(static_cast<__m256i*>(p),
                      _mm256_permute4x64_epi64(_mm256_packus_epi32(x, y), 0xd8));
}

SLIP_INLINE I32x16 SetI32(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
SLIP_INLINE I32x16 AddI32(I32x16 x, I32x16 y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
SLIP_INLINE I32x16 MulI32(I32x16 x, I32x16 y) {
  return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
}
SLIP_INLINE F32x16 ToF32(I32x16 v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
SLIP_INLINE I32x16 LoadI8AsI32(const void* p) {
  const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
}
SLIP_INLINE I32x16 LoadU8AsI32(const void* p) {
  const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
}
SLIP_INLINE int32_t StoreI8(int8_t* p, F32x16 v) {
  const __m256i x = _mm256_cvtps_epi32(v.a), y = _mm256_cvtps_epi32(v.b);
  // Packing works within 128 bits: the order of fours is x0 y0 x1 y1 until the permutation.
  const __m256i shorts = _mm256_permute4x64_epi64(_mm256_packs_epi32(x, y), 0xd8);
  const __m128i low = _mm256_castsi256_si128(shorts), high = _mm256_extracti128_si256(shorts, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(low, high));
  const __m256i s = _mm256_add_epi32(x, y);
  __m128i q = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  q = _mm_add_epi32(q, _mm_unpackhi_epi64(q, q));
  return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_srli_epi64(q, 32)));
}

SLIP_INLINE U8x64 LoadU8(const void* p) {
  const __m256i* h = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(h), _mm256_loadu_si256(h + 1)};
}
SLIP_INLINE void StoreU8(void* p, U8x64 v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v.a);
  _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, v.b);
}
SLIP_INLINE U8x64 LowNibbles(U8x64 v) {
  const __m256i m = _mm256_set1_epi8(15);
  return {_mm256_and_si256(v.a, m), _mm256_and_si256(v.b, m)};
}
SLIP_INLINE U8x64 HighNibbles(U8x64 v) {
  const __m256i m = _mm256_set1_epi8(15);
  return {_mm256_and_si256(_mm256_srli_epi16(v.a, 4), m),
          _mm256_and_si256(_mm256_srli_epi16(v.b, 4), m)};
}
template <int kShift, int kKeep>
SLIP_INLINE U8x64 OrShifted(U8x64 base, U8x64 v) {
  if constexpr (kShift > 0) {
    v = {_mm256_slli_epi16(v.a, kShift), _mm256_slli_epi16(v.b, kShift)};
  } else if constexpr (kShift < 0) {
    v = {_mm256_srli_epi16(v.a, -kShift), _mm256_srli_epi16(v.b, -kShift)};
  }
  const __m256i m = _mm256_set1_epi8(kKeep);
  return {_mm256_or_si256(base.a, _mm256_and_si256(v.a, m)),
          _mm256_or_si256(base.b, _mm256_and_si256(v.b, m))};
}
#define SLIP_SHORT_SUMS
// w * (broadcast a) in pairs of int16, what AddShortSums widens.
using I16x32 = I32x16;
SLIP_INLINE I16x32 ShortProducts(U8x64 w, const int8_t* a) {
  int32_t quad;
  __builtin_memcpy(&quad, a, 4);
  const __m256i q = _mm256_set1_epi32(quad);
  return {_mm256_maddubs_epi16(w.a, q), _mm256_maddubs_epi16(w.b, q)};
}
SLIP_INLINE I16x32 AddI16(I16x32 x, I16x32 y) {
  return {_mm256_add_epi16(x.a, y.a), _mm256_add_epi16(x.b, y.b)};
}
SLIP_INLINE I32x16 AddShortSums(I32x16 acc, I16x32 x) {
  const __m256i ones = _mm256_set1_epi16(1);
  return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(x.a, ones)),
          _mm256_add_epi32(acc.b, _mm256_madd_epi16(x.b, ones))};
}
SLIP_INLINE __m256i DotHalfU8(__m256i acc, __m256i w, __m256i a) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), _mm256_set1_epi16(1)));
}
// |w| * (a with the sign of w): pairs of at most 128 * 127 fit int16, so the saturating add is
// exact. a is never -128.
constexpr int kSignedBias = 0;
SLIP_INLINE I32x16 DotS8(I32x16 acc, U8x64 w, const int8_t* a) {
  int32_t quad;
  __builtin_memcpy(&quad, a, 4);
  const __m256i q = _mm256_set1_epi32(quad);
  return {DotHalfU8(acc.a, _mm256_abs_epi8(w.a), _mm256_sign_epi8(q, w.a)),
          DotHalfU8(acc.b, _mm256_abs_epi8(w.b), _mm256_sign_epi8(q, w.b))};
}

}  // namespace slipstream::kernels::SLIP_ISA
