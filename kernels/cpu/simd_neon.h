// NEON spelling of kernels/cpu/simd.h for AArch64: four 128-bit quarters per vector. Compiled
// twice, with and without the dot product instructions (SDOT, Armv8.2).
#pragma once

#include <arm_neon.h>

namespace slipstream::kernels::SLIP_ISA {

struct F32x16 {
  float32x4_t a, b, c, d;
};
struct I32x16 {
  int32x4_t a, b, c, d;
};
struct U8x64 {
  uint8x16_t a, b, c, d;
};

constexpr int kVectorRegisters = 8;  // of 16 lanes, as everywhere: fours

// The quarters of x (and y, z) through one instruction.
#define SLIP_MAP1(f, x) \
  { f((x).a), f((x).b), f((x).c), f((x).d) }
#define SLIP_MAP2(f, x, y) \
  { f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d) }
#define SLIP_MAP_CONST(f, x, n) \
  { f((x).a, n), f((x).b, n), f((x).c, n), f((x).d, n) }

SLIP_INLINE F32x16 Load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
SLIP_INLINE void Store(float* p, F32x16 v) {
  vst1q_f32(p, v.a);
  vst1q_f32(p + 4, v.b);
  vst1q_f32(p + 8, v.c);
  vst1q_f32(p + 12, v.d);
}
SLIP_INLINE F32x16 Set1(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
SLIP_INLINE F32x16 Zero() { return Set1(0.0f); }
SLIP_INLINE F32x16 Fma(F32x16 x, F32x16 y, F32x16 z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
          vfmaq_f32(z.d, x.d, y.d)};
}
SLIP_INLINE F32x16 Mul(F32x16 x, F32x16 y) { return SLIP_MAP2(vmulq_f32, x, y); }
SLIP_INLINE F32x16 Add(F32x16 x, F32x16 y) { return SLIP_MAP2(vaddq_f32, x, y); }
SLIP_INLINE F32x16 Sub(F32x16 x, F32x16 y) { return SLIP_MAP2(vsubq_f32, x, y); }
SLIP_INLINE F32x16 Div(F32x16 x, F32x16 y) { return SLIP_MAP2(vdivq_f32, x, y); }
SLIP_INLINE F32x16 Max(F32x16 x, F32x16 y) { return SLIP_MAP2(vmaxq_f32, x, y); }
SLIP_INLINE F32x16 Min(F32x16 x, F32x16 y) { return SLIP_MAP2(vminq_f32, x, y); }
SLIP_INLINE F32x16 Abs(F32x16 x) { return SLIP_MAP1(vabsq_f32, x); }
SLIP_INLINE F32x16 Round(F32x16 x) { return SLIP_MAP1(vrndnq_f32, x); }
SLIP_INLINE float32x4_t Pow2Quarter(float32x4_t n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
SLIP_INLINE F32x16 Pow2(F32x16 n) { return SLIP_MAP1(Pow2Quarter, n); }
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
  const float32x4_t q = vaddq_f32(vaddq_f32(v.a, v.c), vaddq_f32(v.b, v.d));
  return vpadds_f32(vadd_f32(vget_low_f32(q), vget_high_f32(q)));
}
SLIP_INLINE float ReduceMax(F32x16 v) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.a, v.c), vmaxq_f32(v.b, v.d)));
}

SLIP_INLINE F32x16 LoadF16(const void* p) {
  const auto* h = static_cast<const uint16_t*>(p);
  const float16x8_t x = vreinterpretq_f16_u16(vld1q_u16(h));
  const float16x8_t y = vreinterpretq_f16_u16(vld1q_u16(h + 8));
  return {vcvt_f32_f16(vget_low_f16(x)), vcvt_high_f32_f16(x), vcvt_f32_f16(vget_low_f16(y)),
          vcvt_high_f32_f16(y)};
}
SLIP_INLINE float32x4_t Bf16Low(uint16x8_t h) {
  return vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16));
}
SLIP_INLINE float32x4_t Bf16High(uint16x8_t h) {
  return vreinterpretq_f32_u32(vshll_high_n_u16(h, 16));
}
SLIP_INLINE F32x16 LoadBf16(const void* p) {
  const auto* h = static_cast<const uint16_t*>(p);
  const uint16x8_t x = vld1q_u16(h), y = vld1q_u16(h + 8);
  return {Bf16Low(x), Bf16High(x), Bf16Low(y), Bf16High(y)};
}
SLIP_INLINE float32x4_t LowHalves(uint32x4_t v) {
  return vreinterpretq_f32_u32(vshlq_n_u32(v, 16));
}
SLIP_INLINE float32x4_t HighHalves(uint32x4_t v) {
  return vreinterpretq_f32_u32(vandq_u32(v, vdupq_n_u32(0xffff0000u)));
}
SLIP_INLINE void LoadBf16Pairs(const void* p, F32x16* even, F32x16* odd) {
  const auto* at = static_cast<const uint8_t*>(p);
  const struct {
    uint32x4_t a, b, c, d;
  } v = {vreinterpretq_u32_u8(vld1q_u8(at)), vreinterpretq_u32_u8(vld1q_u8(at + 16)),
         vreinterpretq_u32_u8(vld1q_u8(at + 32)), vreinterpretq_u32_u8(vld1q_u8(at + 48))};
  *even = SLIP_MAP1(LowHalves, v);
  *odd = SLIP_MAP1(HighHalves, v);
}
SLIP_INLINE void StoreF16(void* p, F32x16 v) {
  auto* h = static_cast<uint16_t*>(p);
  vst1q_u16(h, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(v.a), v.b)));
  vst1q_u16(h + 8, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(v.c), v.d)));
}
SLIP_INLINE uint16x4_t NarrowToBf16(float32x4_t v) {
  const uint32x4_t u = vreinterpretq_u32_f32(v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  return vshrn_n_u32(vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
}
SLIP_INLINE void StoreBf16(void* p, F32x16 v) {
  auto* h = static_cast<uint16_t*>(p);
  vst1q_u16(h, vcombine_u16(NarrowToBf16(v.a), NarrowToBf16(v.b)));
  vst1q_u16(h + 8, vcombine_u16(NarrowToBf16(v.c), NarrowToBf16(v.d)));
}

SLIP_INLINE I32x16 SetI32(int32_t x) {
  const int32x4_t v = vdupq_n_s32(x);
  return {v, v, v, v};
}
SLIP_INLINE I32x16 AddI32(I32x16 x, I32x16 y) { return SLIP_MAP2(vaddq_s32, x, y); }
SLIP_INLINE I32x16 MulI32(I32x16 x, I32x16 y) { return SLIP_MAP2(vmulq_s32, x, y); }
SLIP_INLINE F32x16 ToF32(I32x16 v) { return SLIP_MAP1(vcvtq_f32_s32, v); }
SLIP_INLINE I32x16 LoadI8AsI32(const void* p) {
  const int8x16_t v = vld1q_s8(static_cast<const int8_t*>(p));
  const int16x8_t x = vmovl_s8(vget_low_s8(v)), y = vmovl_high_s8(v);
  return {vmovl_s16(vget_low_s16(x)), vmovl_high_s16(x), vmovl_s16(vget_low_s16(y)),
          vmovl_high_s16(y)};
}
SLIP_INLINE I32x16 LoadU8AsI32(const void* p) {
  const uint8x16_t v = vld1q_u8(static_cast<const uint8_t*>(p));
  const int16x8_t x = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(v)));
  const int16x8_t y = vreinterpretq_s16_u16(vmovl_high_u8(v));
  return {vmovl_s16(vget_low_s16(x)), vmovl_high_s16(x), vmovl_s16(vget_low_s16(y)),
          vmovl_high_s16(y)};
}
SLIP_INLINE int32_t StoreI8(int8_t* p, F32x16 v) {
  const I32x16 i = SLIP_MAP1(vcvtnq_s32_f32, v);
  const int16x8_t x = vmovn_high_s32(vmovn_s32(i.a), i.b);
  const int16x8_t y = vmovn_high_s32(vmovn_s32(i.c), i.d);
  vst1q_s8(p, vmovn_high_s16(vmovn_s16(x), y));
  return vaddvq_s32(vaddq_s32(vaddq_s32(i.a, i.b), vaddq_s32(i.c, i.d)));
}

SLIP_INLINE U8x64 LoadU8(const void* p) {
  const auto* at = static_cast<const uint8_t*>(p);
  return {vld1q_u8(at), vld1q_u8(at + 16), vld1q_u8(at + 32), vld1q_u8(at + 48)};
}
SLIP_INLINE void StoreU8(void* p, U8x64 v) {
  auto* at = static_cast<uint8_t*>(p);
  vst1q_u8(at, v.a);
  vst1q_u8(at + 16, v.b);
  vst1q_u8(at + 32, v.c);
  vst1q_u8(at + 48, v.d);
}
SLIP_INLINE U8x64 LowNibbles(U8x64 v) {
  const uint8x16_t m = vdupq_n_u8(15);
  return {vandq_u8(v.a, m), vandq_u8(v.b, m), vandq_u8(v.c, m), vandq_u8(v.d, m)};
}
SLIP_INLINE U8x64 HighNibbles(U8x64 v) { return SLIP_MAP_CONST(vshrq_n_u8, v, 4); }
template <int kShift, int kKeep>
SLIP_INLINE U8x64 OrShifted(U8x64 base, U8x64 v) {
  if constexpr (kShift > 0) {
    v = SLIP_MAP_CONST(vshlq_n_u8, v, kShift);
  } else if constexpr (kShift < 0) {
    v = SLIP_MAP_CONST(vshrq_n_u8, v, -kShift);
  }
  const uint8x16_t m = vdupq_n_u8(kKeep);
  return {vorrq_u8(base.a, vandq_u8(v.a, m)), vorrq_u8(base.b, vandq_u8(v.b, m)),
          vorrq_u8(base.c, vandq_u8(v.c, m)), vorrq_u8(base.d, vandq_u8(v.d, m))};
}

SLIP_INLINE int8x16_t Broadcast4(const int8_t* a) {
  int32_t quad;
  __builtin_memcpy(&quad, a, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}
constexpr int kSignedBias = 0;
#ifdef __ARM_FEATURE_DOTPROD
SLIP_INLINE I32x16 DotS8(I32x16 acc, U8x64 w, const int8_t* a) {
  const int8x16_t q = Broadcast4(a);
  return {
      vdotq_s32(acc.a, vreinterpretq_s8_u8(w.a), q), vdotq_s32(acc.b, vreinterpretq_s8_u8(w.b), q),
      vdotq_s32(acc.c, vreinterpretq_s8_u8(w.c), q), vdotq_s32(acc.d, vreinterpretq_s8_u8(w.d), q)};
}
// REQUIRES: bytes of w at most 127, where unsigned and signed are the same.
SLIP_INLINE I32x16 DotU8(I32x16 acc, U8x64 w, const int8_t* a) { return DotS8(acc, w, a); }
#else
#define SLIP_SHORT_SUMS
struct I16x32 {
  int16x8_t a, b, c, d;
};
// Sums of neighbouring products, at most 128 * 127 each.
SLIP_INLINE int16x8_t PairProducts(uint8x16_t w, int8x16_t a) {
  const int8x16_t s = vreinterpretq_s8_u8(w);
  return vpaddq_s16(vmull_s8(vget_low_s8(s), vget_low_s8(a)), vmull_high_s8(s, a));
}
SLIP_INLINE I16x32 ShortProducts(U8x64 w, const int8_t* a) {
  const int8x16_t q = Broadcast4(a);
  return {PairProducts(w.a, q), PairProducts(w.b, q), PairProducts(w.c, q), PairProducts(w.d, q)};
}
SLIP_INLINE I16x32 AddI16(I16x32 x, I16x32 y) { return SLIP_MAP2(vaddq_s16, x, y); }
SLIP_INLINE I32x16 AddShortSums(I32x16 acc, I16x32 x) { return SLIP_MAP2(vpadalq_s16, acc, x); }
SLIP_INLINE I32x16 DotS8(I32x16 acc, U8x64 w, const int8_t* a) {
  return AddShortSums(acc, ShortProducts(w, a));
}
#endif

#undef SLIP_MAP1
#undef SLIP_MAP2
#undef SLIP_MAP_CONST

}  // namespace slipstream::kernels::SLIP_ISA
