// AVX-512 (F, BW, DQ, VL, VNNI) spelling of kernels/cpu/simd.h.
#pragma once

#include <immintrin.h>

namespace slipstream::kernels::SLIP_ISA {

using F32x16 = __m512;
using I32x16 = __m512i;
using U8x64 = __m512i;

constexpr int kVectorRegisters = 32;

SLIP_INLINE F32x16 Load(const float* p) { return _mm512_loadu_ps(p); }
SLIP_INLINE void Store(float* p, F32x16 v) { _mm512_storeu_ps(p, v); }
SLIP_INLINE __mmask16 FirstLanes(int64_t n) {
  if (n <= 0) return 0;
  return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << n) - 1);
}
#define SLIP_MASKED_LANES
SLIP_INLINE F32x16 LoadN(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(FirstLanes(n), p);
}
SLIP_INLINE void StoreN(float* p, F32x16 v, int64_t n) {
  _mm512_mask_storeu_ps(p, FirstLanes(n), v);
}
SLIP_INLINE F32x16 Set1(float x) { return _mm512_set1_ps(x); }
SLIP_INLINE F32x16 Zero() { return _mm512_setzero_ps(); }
SLIP_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return _mm512_fmadd_ps(a, b, c); }
SLIP_INLINE F32x16 Mul(F32x16 a, F32x16 b) { return _mm512_mul_ps(a, b); }
SLIP_INLINE F32x16 Add(F32x16 a, F32x16 b) { return _mm512_add_ps(a, b); }
SLIP_INLINE F32x16 Sub(F32x16 a, F32x16 b) { return _mm512_sub_ps(a, b); }
SLIP_INLINE F32x16 Div(F32x16 a, F32x16 b) { return _mm512_div_ps(a, b); }
SLIP_INLINE F32x16 Max(F32x16 a, F32x16 b) { return _mm512_max_ps(a, b); }
SLIP_INLINE F32x16 Min(F32x16 a, F32x16 b) { return _mm512_min_ps(a, b); }
SLIP_INLINE F32x16 Abs(F32x16 a) { return _mm512_abs_ps(a); }
SLIP_INLINE F32x16 Round(F32x16 a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
SLIP_INLINE F32x16 Pow2(F32x16 n) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
// Lane i keeps a where lo <= i < hi, else b.
SLIP_INLINE F32x16 SelectLanes(int64_t lo, int64_t hi, F32x16 a, F32x16 b) {
  const __mmask16 m = FirstLanes(hi) & ~FirstLanes(lo);
  return _mm512_mask_blend_ps(m, b, a);
}
SLIP_INLINE float ReduceAdd(F32x16 v) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
SLIP_INLINE float ReduceMax(F32x16 v) {
  const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

SLIP_INLINE F32x16 LoadF16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
SLIP_INLINE F32x16 LoadBf16(const void* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
}
// 32 interleaved bf16: lane i of *even is element 2i, of *odd element 2i + 1.
SLIP_INLINE void LoadBf16Pairs(const void* p, F32x16* even, F32x16* odd) {
  const __m512i v = _mm512_loadu_si512(p);
  *even = _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
  *odd = _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}
// Rounds to nearest even and stores 16 halves.
SLIP_INLINE void StoreF16(void* p, F32x16 v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p),
                      _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
SLIP_INLINE void StoreBf16(void* p, F32x16 v) {
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16)));
}

SLIP_INLINE I32x16 SetI32(int32_t x) { return _mm512_set1_epi32(x); }
SLIP_INLINE I32x16 AddI32(I32x16 a, I32x16 b) { return _mm512_add_epi32(a, b); }
SLIP_INLINE I32x16 MulI32(I32x16 a, I32x16 b) { return _mm512_mullo_epi32(a, b); }
SLIP_INLINE F32x16 ToF32(I32x16 v) { return _mm512_cvtepi32_ps(v); }
SLIP_INLINE I32x16 LoadI8AsI32(const void* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
SLIP_INLINE I32x16 LoadU8AsI32(const void* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
// Rounds to nearest even, narrows to int8 (values are within range), stores, returns lane sum.
SLIP_INLINE int32_t StoreI8(int8_t* p, F32x16 v) {
  const __m512i i = _mm512_cvtps_epi32(v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(i));
  return _mm512_reduce_add_epi32(i);
}

SLIP_INLINE U8x64 LoadU8(const void* p) { return _mm512_loadu_si512(p); }
SLIP_INLINE void StoreU8(void* p, U8x64 v) { _mm512_storeu_si512(p, v); }
SLIP_INLINE U8x64 LowNibbles(U8x64 v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
SLIP_INLINE U8x64 HighNibbles(U8x64 v) {
  return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}
// base | the bits of v selected by `keep` after a shift left (kShift > 0) or right.
template <int kShift, int kKeep>
SLIP_INLINE U8x64 OrShifted(U8x64 base, U8x64 v) {
  if constexpr (kShift > 0) v = _mm512_slli_epi16(v, kShift);
  if constexpr (kShift < 0) v = _mm512_srli_epi16(v, -kShift);
  return _mm512_or_si512(base, _mm512_and_si512(v, _mm512_set1_epi8(kKeep)));
}
SLIP_INLINE U8x64 SubU8(U8x64 v, int x) {
  return _mm512_sub_epi8(v, _mm512_set1_epi8(static_cast<char>(x)));
}
// acc lane n += sum over j of w byte [4n + j] (unsigned) * a[j].
SLIP_INLINE I32x16 DotU8(I32x16 acc, U8x64 w, const int8_t* a) {
  int32_t quad;
  __builtin_memcpy(&quad, a, 4);
  return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(quad));
}
// The same with signed w, plus kSignedBias * sum(a), which the caller subtracts: the instruction
// multiplies unsigned by signed, so w is shifted into 0..255.
constexpr int kSignedBias = 128;
SLIP_INLINE I32x16 DotS8(I32x16 acc, U8x64 w, const int8_t* a) {
  return DotU8(acc, _mm512_xor_si512(w, _mm512_set1_epi8(static_cast<char>(0x80))), a);
}

}  // namespace slipstream::kernels::SLIP_ISA
