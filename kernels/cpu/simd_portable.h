// Plain-loop spelling of kernels/cpu/simd.h for any target; compilers turn the loops into whatever
// vector instructions the target's baseline has (SSE2, NEON).
#pragma once

namespace slipstream::kernels::SLIP_ISA {

struct F32x16 {
  float v[16];
};
struct I32x16 {
  int32_t v[16];
};
struct U8x64 {
  uint8_t v[64];
};

constexpr int kVectorRegisters = 4;  // of 16 lanes, as everywhere: fours of SSE2's or NEON's

#define SLIP_LANES(n, expr)         \
  do {                              \
    for (int i = 0; i < (n); ++i) { \
      r.v[i] = (expr);              \
    }                               \
  } while (false)

SLIP_INLINE F32x16 Load(const float* p) {
  F32x16 r;
  __builtin_memcpy(r.v, p, sizeof(r.v));
  return r;
}
SLIP_INLINE void Store(float* p, F32x16 x) { __builtin_memcpy(p, x.v, sizeof(x.v)); }
SLIP_INLINE F32x16 Set1(float x) {
  F32x16 r;
  SLIP_LANES(16, x);
  return r;
}
SLIP_INLINE F32x16 Zero() { return Set1(0.0f); }
SLIP_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  F32x16 r;
  SLIP_LANES(16, a.v[i] * b.v[i] + c.v[i]);
  return r;
}
SLIP_INLINE F32x16 Mul(F32x16 a, F32x16 b) {
  F32x16 r;
  SLIP_LANES(16, a.v[i] * b.v[i]);
  return r;
}
SLIP_INLINE F32x16 Add(F32x16 a, F32x16 b) {
  F32x16 r;
  SLIP_LANES(16, a.v[i] + b.v[i]);
  return r;
}
SLIP_INLINE F32x16 Sub(F32x16 a, F32x16 b) {
  F32x16 r;
  SLIP_LANES(16, a.v[i] - b.v[i]);
  return r;
}
SLIP_INLINE F32x16 Div(F32x16 a, F32x16 b) {
  F32x16 r;
  SLIP_LANES(16, a.v[i] / b.v[i]);
  return r;
}
SLIP_INLINE F32x16 Max(F32x16 a, F32x16 b) {
  F32x16 r;
  SLIP_LANES(16, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
  return r;
}
SLIP_INLINE F32x16 Min(F32x16 a, F32x16 b) {
  F32x16 r;
  SLIP_LANES(16, a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
  return r;
}
SLIP_INLINE F32x16 Abs(F32x16 a) {
  F32x16 r;
  SLIP_LANES(16, a.v[i] < 0 ? -a.v[i] : a.v[i]);
  return r;
}
// To nearest even for |x| < 2^22: adding 1.5 * 2^23 pushes the fraction out of the mantissa.
SLIP_INLINE F32x16 Round(F32x16 a) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) {
    const volatile float t = a.v[i] + 12582912.0f;  // volatile: the pair of adds must not cancel
    r.v[i] = t - 12582912.0f;
  }
  return r;
}
SLIP_INLINE F32x16 Pow2(F32x16 n) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) {
    const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127) << 23;
    __builtin_memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
SLIP_INLINE F32x16 SelectLanes(int64_t lo, int64_t hi, F32x16 a, F32x16 b) {
  F32x16 r;
  SLIP_LANES(16, i >= lo && i < hi ? a.v[i] : b.v[i]);
  return r;
}
SLIP_INLINE float ReduceAdd(F32x16 x) {
  for (int w = 8; w > 0; w /= 2) {
    for (int i = 0; i < w; ++i) x.v[i] += x.v[i + w];
  }
  return x.v[0];
}
SLIP_INLINE float ReduceMax(F32x16 x) {
  float m = x.v[0];
  for (int i = 1; i < 16; ++i) m = x.v[i] > m ? x.v[i] : m;
  return m;
}

SLIP_INLINE uint16_t U16At(const void* p, int i) {
  uint16_t h;
  __builtin_memcpy(&h, static_cast<const char*>(p) + 2 * i, 2);
  return h;
}
SLIP_INLINE float FloatOfBits(uint32_t bits) {
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
SLIP_INLINE float HalfBits(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t exp = (h >> 10) & 31, man = h & 1023;
  if (exp == 31) return FloatOfBits(sign | 0x7f800000u | (man << 13));
  if (exp == 0) {  // zero and subnormals: man * 2^-24, exact in float
    const float f = static_cast<float>(man) * 5.9604644775390625e-8f;
    return sign ? -f : f;
  }
  return FloatOfBits(sign | ((exp + 112) << 23) | (man << 13));
}
SLIP_INLINE F32x16 LoadF16(const void* p) {
  F32x16 r;
  SLIP_LANES(16, HalfBits(U16At(p, i)));
  return r;
}
SLIP_INLINE F32x16 LoadBf16(const void* p) {
  F32x16 r;
  SLIP_LANES(16, FloatOfBits(static_cast<uint32_t>(U16At(p, i)) << 16));
  return r;
}
SLIP_INLINE void LoadBf16Pairs(const void* p, F32x16* even, F32x16* odd) {
  for (int i = 0; i < 16; ++i) {
    even->v[i] = FloatOfBits(static_cast<uint32_t>(U16At(p, 2 * i)) << 16);
    odd->v[i] = FloatOfBits(static_cast<uint32_t>(U16At(p, 2 * i + 1)) << 16);
  }
}
SLIP_INLINE uint32_t BitsOf(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  return u;
}
// Round to nearest even, with overflow to infinity and gradual underflow.
SLIP_INLINE uint16_t HalfOf(float f) {
  const uint32_t u = BitsOf(f), sign = (u >> 16) & 0x8000, mag = u & 0x7fffffff;
  if (mag > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (mag >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
  if (mag < 0x38800000) {  // below 2^-14: let the float adder align and round the mantissa
    const uint32_t aligned = BitsOf(FloatOfBits(mag) + 0.5f) - BitsOf(0.5f);
    return static_cast<uint16_t>(sign | aligned);
  }
  return static_cast<uint16_t>(sign | ((mag - 0x38000000 + 0xfff + ((mag >> 13) & 1)) >> 13));
}
SLIP_INLINE void StoreF16(void* p, F32x16 x) {
  for (int i = 0; i < 16; ++i) {
    const uint16_t h = HalfOf(x.v[i]);
    __builtin_memcpy(static_cast<char*>(p) + 2 * i, &h, 2);
  }
}
SLIP_INLINE void StoreBf16(void* p, F32x16 x) {
  for (int i = 0; i < 16; ++i) {
    const uint32_t u = BitsOf(x.v[i]);
    const uint16_t h = static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
    __builtin_memcpy(static_cast<char*>(p) + 2 * i, &h, 2);
  }
}

SLIP_INLINE I32x16 SetI32(int32_t x) {
  I32x16 r;
  SLIP_LANES(16, x);
  return r;
}
SLIP_INLINE I32x16 AddI32(I32x16 a, I32x16 b) {
  I32x16 r;
  SLIP_LANES(16, a.v[i] + b.v[i]);
  return r;
}
SLIP_INLINE I32x16 MulI32(I32x16 a, I32x16 b) {
  I32x16 r;
  SLIP_LANES(16, a.v[i] * b.v[i]);
  return r;
}
SLIP_INLINE F32x16 ToF32(I32x16 x) {
  F32x16 r;
  SLIP_LANES(16, static_cast<float>(x.v[i]));
  return r;
}
SLIP_INLINE I32x16 LoadI8AsI32(const void* p) {
  I32x16 r;
  SLIP_LANES(16, static_cast<const int8_t*>(p)[i]);
  return r;
}
SLIP_INLINE I32x16 LoadU8AsI32(const void* p) {
  I32x16 r;
  SLIP_LANES(16, static_cast<const uint8_t*>(p)[i]);
  return r;
}
SLIP_INLINE int32_t StoreI8(int8_t* p, F32x16 x) {
  const F32x16 y = Round(x);
  int32_t sum = 0;
  for (int i = 0; i < 16; ++i) {
    p[i] = static_cast<int8_t>(static_cast<int32_t>(y.v[i]));
    sum += p[i];
  }
  return sum;
}

SLIP_INLINE U8x64 LoadU8(const void* p) {
  U8x64 r;
  __builtin_memcpy(r.v, p, sizeof(r.v));
  return r;
}
SLIP_INLINE void StoreU8(void* p, U8x64 x) { __builtin_memcpy(p, x.v, sizeof(x.v)); }
SLIP_INLINE U8x64 LowNibbles(U8x64 x) {
  U8x64 r;
  SLIP_LANES(64, static_cast<uint8_t>(x.v[i] & 15));
  return r;
}
SLIP_INLINE U8x64 HighNibbles(U8x64 x) {
  U8x64 r;
  SLIP_LANES(64, static_cast<uint8_t>(x.v[i] >> 4));
  return r;
}
template <int kShift, int kKeep>
SLIP_INLINE U8x64 OrShifted(U8x64 base, U8x64 x) {
  U8x64 r;
  if constexpr (kShift >= 0) {
    SLIP_LANES(64, static_cast<uint8_t>(base.v[i] | ((x.v[i] << kShift) & kKeep)));
  } else {
    SLIP_LANES(64, static_cast<uint8_t>(base.v[i] | ((x.v[i] >> -kShift) & kKeep)));
  }
  return r;
}
SLIP_INLINE I32x16 DotU8(I32x16 acc, U8x64 w, const int8_t* a) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 4; ++j) acc.v[i] += w.v[4 * i + j] * a[j];
  }
  return acc;
}
constexpr int kSignedBias = 0;
SLIP_INLINE I32x16 DotS8(I32x16 acc, U8x64 w, const int8_t* a) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 4; ++j) acc.v[i] += static_cast<int8_t>(w.v[4 * i + j]) * a[j];
  }
  return acc;
}

#undef SLIP_LANES

}  // namespace slipstream::kernels::SLIP_ISA
