// Random weight blocks of every dtype, and guarded buffers, for the CPU kernel tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/api/cpu_kernels.h"
#include "kernels/api/quantize.h"

namespace slipstream::kernels::test {

// The instruction sets that a build for this architecture knows; tests skip what the machine lacks.
inline const std::vector<Isa>& AllIsas() {
#ifdef __aarch64__
  static const std::vector<Isa> all = {Isa::kPortable, Isa::kNeon, Isa::kNeonDot};
#else
  static const std::vector<Isa> all = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAmx};
#endif
  return all;
}

inline const char* IsaName(Isa isa) {
  constexpr const char* kNames[] = {"portable", "avx2", "avx512", "amx", "neon", "neon_dot"};
  return kNames[static_cast<int>(isa)];
}

inline const std::vector<DType>& WeightTypes() {
  static const std::vector<DType> all = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,
                                         DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                         DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
  return all;
}

inline std::vector<float> RandomFloats(size_t n, uint32_t seed, float scale = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> dist(0.0f, scale);
  std::vector<float> v(n);
  for (float& x : v) x = dist(rng);
  return v;
}

// A half in about +-[0.005, 0.03].
inline uint16_t SmallHalf(std::mt19937& rng, bool positive) {
  const auto mantissa = static_cast<uint16_t>(rng() & 1023);
  const auto exponent = static_cast<uint16_t>(7 + rng() % 3);
  const uint16_t sign = positive || rng() % 2 ? 0 : 0x8000;
  return static_cast<uint16_t>(sign | exponent << 10 | mantissa);
}

// Byte offsets of the halves that a block holds.
inline std::vector<int> HalfOffsets(DType t) {
  switch (t) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ5_0:
      return {0};
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ6_K:
      return {208};
    default:
      return {};
  }
}

// Random bits with sensible scales: every bit of the format gets exercised.
inline std::vector<uint8_t> RandomWeights(DType t, int64_t elems, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<uint8_t> bytes(BytesOf(t, static_cast<size_t>(elems)));
  if (t == DType::kF32) {
    const auto v = RandomFloats(static_cast<size_t>(elems), seed, 0.1f);
    std::memcpy(bytes.data(), v.data(), bytes.size());
    return bytes;
  }
  if (t == DType::kF16) {
    for (size_t i = 0; i < bytes.size(); i += 2) {
      const uint16_t h = SmallHalf(rng, false);
      std::memcpy(&bytes[i], &h, 2);
    }
    return bytes;
  }
  if (t == DType::kBF16) {
    const auto v = RandomFloats(static_cast<size_t>(elems), seed, 0.1f);
    for (size_t i = 0; i < v.size(); ++i) {
      std::memcpy(&bytes[2 * i], reinterpret_cast<const char*>(&v[i]) + 2, 2);
    }
    return bytes;
  }
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng());
  const size_t block = static_cast<size_t>(GeometryOf(t).block_bytes);
  for (size_t at = 0; at < bytes.size(); at += block) {
    for (const int offset : HalfOffsets(t)) {
      const uint16_t h = SmallHalf(rng, t == DType::kQ4_K || t == DType::kQ5_K);
      std::memcpy(&bytes[at + static_cast<size_t>(offset)], &h, 2);
    }
  }
  return bytes;
}

// A packed copy of checkpoint rows that owns its memory, in a 64-byte aligned buffer.
class Packed {
 public:
  Packed(DType t, int64_t rows, int64_t cols, const void* src) {
    status_ = PackedLayout(t, rows, cols, &matrix_);
    if (status_ != KernelStatus::kOk) return;
    storage_.assign(matrix_.bytes() + 64, 0);
    const auto at = reinterpret_cast<uintptr_t>(storage_.data());
    uint8_t* data = storage_.data() + (64 - at % 64) % 64;
    PackRows(matrix_, data, 0, rows, src);
    matrix_.data = data;
  }
  KernelStatus status() const { return status_; }
  const PackedMatrix& matrix() const { return matrix_; }

 private:
  KernelStatus status_;
  PackedMatrix matrix_;
  std::vector<uint8_t> storage_;
};

inline constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// Aligned scratch filled with NaN bytes, so that a read of what was not written shows.
class AlignedScratch {
 public:
  explicit AlignedScratch(size_t bytes) : storage_(bytes + 64, 0xff) {}
  void* data() {
    const auto at = reinterpret_cast<uintptr_t>(storage_.data());
    return storage_.data() + (64 - at % 64) % 64;
  }

 private:
  std::vector<uint8_t> storage_;
};

// y = x W^T (+ bias) through prepare and gemm with `workers` workers, one after the other.
inline std::vector<float> RunGemm(const CpuKernels& k, const PackedMatrix& w, const float* x,
                                  int64_t m, const float* bias, int workers = 1) {
  const ActForm form = k.act_form(w.dtype);
  AlignedScratch prepared(PreparedBytes(form, m, w.cols));
  AlignedScratch scratch(GemmScratchBytes(w) * static_cast<size_t>(workers));
  GemmParams p;
  p.w = &w;
  p.x = BindPrepared(form, x, w.cols, m, w.cols, prepared.data());
  // Two poisoned columns on the right of each row and a row below must stay untouched.
  p.y_stride = w.rows + 2;
  std::vector<float> y(static_cast<size_t>((m + 1) * p.y_stride), kPoison);
  p.y = y.data();
  p.bias = bias;
  p.scratch = scratch.data();
  for (int i = 0; i < workers; ++i) k.prepare(p.x, {i, workers});
  for (int i = 0; i < workers; ++i) k.gemm(p, {i, workers});
  std::vector<float> out;
  for (int64_t r = 0; r < m; ++r) {
    const float* row = y.data() + r * p.y_stride;
    out.insert(out.end(), row, row + w.rows);
    if (!std::isnan(row[w.rows]) || !std::isnan(row[w.rows + 1])) out.back() = kPoison;
  }
  if (!std::isnan(y[static_cast<size_t>(m * p.y_stride)])) out.back() = kPoison;
  return out;
}

inline std::vector<float> Dequantized(DType t, const std::vector<uint8_t>& bytes, int64_t elems) {
  std::vector<float> out(static_cast<size_t>(elems));
  if (reference::Dequantize(t, bytes.data(), elems, out.data()) != KernelStatus::kOk) out.clear();
  return out;
}

}  // namespace slipstream::kernels::test
