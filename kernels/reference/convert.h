// Scalar conversions between float and the storage types of kernel buffers, round to nearest even.
// Pure functions for references and tests; e4m3 saturates at 448 as the device conversion does.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/api/types.h"

namespace slipstream::kernels {

inline float BF16ToFloat(uint16_t h) { return std::bit_cast<float>(uint32_t{h} << 16); }

inline uint16_t FloatToBF16(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}

inline float F16ToFloat(uint16_t h) {
  const int exponent = (h >> 10) & 31, mantissa = h & 1023;
  const float sign = h & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

inline uint16_t FloatToF16(float f) {
  const uint16_t sign = std::signbit(f) ? 0x8000 : 0;
  const float a = std::fabs(f);
  if (std::isnan(f)) return 0x7E00;
  if (a >= 65520.0f) return sign | 0x7C00;
  int exponent = 0;
  if (a != 0.0f) std::frexp(a, &exponent);
  const int ulp = a < 0x1p-14f ? -24 : exponent - 11;
  const float steps = std::nearbyint(std::ldexp(a, -ulp));  // exact scaling, one rounding
  const float value = std::ldexp(steps, ulp);
  if (value < 0x1p-14f) return sign | static_cast<uint16_t>(std::ldexp(value, 24));
  std::frexp(value, &exponent);
  const int mantissa = static_cast<int>(std::ldexp(value, 11 - exponent)) - 1024;
  return static_cast<uint16_t>(sign | ((exponent + 14) << 10) | mantissa);
}

inline float E4M3ToFloat(uint8_t b) {
  const int exponent = (b >> 3) & 15, mantissa = b & 7;
  const float sign = b & 0x80 ? -1.0f : 1.0f;
  if (exponent == 15 && mantissa == 7) return NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
  return sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

inline uint8_t FloatToE4M3(float f) {
  const uint8_t sign = std::signbit(f) ? 0x80 : 0;
  if (std::isnan(f)) return 0x7F;
  const float a = std::fabs(f);
  if (a >= 448.0f) return sign | 0x7E;
  int exponent = 0;
  if (a != 0.0f) std::frexp(a, &exponent);
  const int ulp = a < 0x1p-6f ? -9 : exponent - 4;
  const float value = std::ldexp(std::nearbyint(std::ldexp(a, -ulp)), ulp);
  if (value < 0x1p-6f) return sign | static_cast<uint8_t>(std::ldexp(value, 9));
  std::frexp(value, &exponent);
  const int mantissa = static_cast<int>(std::ldexp(value, 4 - exponent)) - 8;
  return static_cast<uint8_t>(sign | ((exponent + 6) << 3) | mantissa);
}

// Element at `p` as float. REQUIRES: a plain floating type.
inline float LoadElement(const void* p, DType t) {
  uint16_t h;
  float f;
  switch (t) {
    case DType::kBF16:
      std::memcpy(&h, p, 2);
      return BF16ToFloat(h);
    case DType::kF16:
      std::memcpy(&h, p, 2);
      return F16ToFloat(h);
    case DType::kF8E4M3:
      return E4M3ToFloat(*static_cast<const uint8_t*>(p));
    default:
      std::memcpy(&f, p, 4);
      return f;
  }
}

inline void StoreElement(void* p, DType t, float f) {
  uint16_t h;
  switch (t) {
    case DType::kBF16:
      h = FloatToBF16(f);
      std::memcpy(p, &h, 2);
      return;
    case DType::kF16:
      h = FloatToF16(f);
      std::memcpy(p, &h, 2);
      return;
    case DType::kF8E4M3:
      *static_cast<uint8_t*>(p) = FloatToE4M3(f);
      return;
    default:
      std::memcpy(p, &f, 4);
  }
}

inline float RoundTo(DType t, float f) {
  switch (t) {
    case DType::kBF16:
      return BF16ToFloat(FloatToBF16(f));
    case DType::kF16:
      return F16ToFloat(FloatToF16(f));
    case DType::kF8E4M3:
      return E4M3ToFloat(FloatToE4M3(f));
    default:
      return f;
  }
}

}  // namespace slipstream::kernels
