#include <cmath>
#include <cstring>

#include "kernels/api/quantize.h"

namespace slipstream::kernels::reference {
namespace {

float Half(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  const int exp = (h >> 10) & 31, man = h & 1023;
  float v = exp == 0 ? std::ldexp(static_cast<float>(man), -24)
                     : std::ldexp(static_cast<float>(man + 1024), exp - 25);
  if (exp == 31) v = man == 0 ? INFINITY : NAN;
  return h & 0x8000 ? -v : v;
}

float BFloat(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  const uint32_t bits = static_cast<uint32_t>(h) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

int Nibble(const uint8_t* qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

int FifthBit(const uint8_t* qh, int i) { return (qh[i / 8] >> (i % 8)) & 1; }

// Blocks of 32: the formula of each type, element by element.
float Element32(DType t, const uint8_t* b, int i) {
  switch (t) {
    case DType::kQ4_0:
      return Half(b) * static_cast<float>(Nibble(b + 2, i) - 8);
    case DType::kQ4_1:
      return Half(b) * static_cast<float>(Nibble(b + 4, i)) + Half(b + 2);
    case DType::kQ5_0:
      return Half(b) * static_cast<float>((Nibble(b + 6, i) | FifthBit(b + 2, i) << 4) - 16);
    case DType::kQ5_1:
      return Half(b) * static_cast<float>(Nibble(b + 8, i) | FifthBit(b + 4, i) << 4) + Half(b + 2);
    default:
      return Half(b) * static_cast<float>(static_cast<int8_t>(b[2 + i]));  // kQ8_0
  }
}

// Q4_K and Q5_K: eight runs of 32; runs 2j and 2j + 1 are the low and high nibbles of 32 bytes.
float ElementK45(DType t, const uint8_t* b, int i) {
  const int run = i / 32, j = i % 32;
  const uint8_t* s = b + 4;
  const int scale = run < 4 ? s[run] & 63 : (s[run + 4] & 15) | (s[run - 4] >> 6) << 4;
  const int min = run < 4 ? s[run + 4] & 63 : (s[run + 4] >> 4) | (s[run] >> 6) << 4;
  const uint8_t byte = b[(t == DType::kQ5_K ? 48 : 16) + run / 2 * 32 + j];
  int q = run % 2 ? byte >> 4 : byte & 15;
  if (t == DType::kQ5_K) q |= ((b[16 + j] >> run) & 1) << 4;
  return Half(b) * static_cast<float>(scale) * static_cast<float>(q) -
         Half(b + 2) * static_cast<float>(min);
}

// Q6_K: two halves of 128; in each, 4 runs of 32 share 64 low-nibble and 32 high-bit bytes.
float ElementK6(const uint8_t* b, int i) {
  const int half = i / 128, run = i % 128 / 32, j = i % 32;
  const uint8_t low = b[half * 64 + run % 2 * 32 + j];
  const uint8_t high = b[128 + half * 32 + j];
  const int q = ((run < 2 ? low & 15 : low >> 4) | ((high >> (2 * run)) & 3) << 4) - 32;
  const int scale = static_cast<int8_t>(b[192 + i / 16]);
  return Half(b + 208) * static_cast<float>(scale) * static_cast<float>(q);
}

}  // namespace

KernelStatus Dequantize(DType dtype, const void* blocks, int64_t elems, float* out) {
  const QuantGeometry g = GeometryOf(dtype);
  if (elems % g.block_elems != 0) return KernelStatus::kInvalidArgument;
  const auto* bytes = static_cast<const uint8_t*>(blocks);
  for (int64_t i = 0; i < elems; ++i) {
    const uint8_t* b = bytes + i / g.block_elems * g.block_bytes;
    const int j = static_cast<int>(i % g.block_elems);
    switch (dtype) {
      case DType::kF32:
        std::memcpy(&out[i], b, 4);
        break;
      case DType::kF16:
        out[i] = Half(b);
        break;
      case DType::kBF16:
        out[i] = BFloat(b);
        break;
      case DType::kQ4_0:
      case DType::kQ4_1:
      case DType::kQ5_0:
      case DType::kQ5_1:
      case DType::kQ8_0:
        out[i] = Element32(dtype, b, j);
        break;
      case DType::kQ4_K:
      case DType::kQ5_K:
        out[i] = ElementK45(dtype, b, j);
        break;
      case DType::kQ6_K:
        out[i] = ElementK6(b, j);
        break;
      default:
        return KernelStatus::kUnsupported;
    }
  }
  return KernelStatus::kOk;
}

}  // namespace slipstream::kernels::reference
