// One matrix product for the device tests: random W and x between poisoned rows and columns, and a
// float64 reference. Values are k / 128 with |k| < 128: exact in bf16 and fp16.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/api/types.h"
#include "kernels/reference/convert.h"
#include "tests/kernels/cuda/device.h"

namespace slipstream::kernels {

inline constexpr uint16_t kPoison16 = 0xFFFF;  // NaN in bf16 and in fp16

// [rows + extra, stride] of 16-bit elements; everything outside [rows, columns] is poison.
class RandomMatrix {
 public:
  RandomMatrix(DType dtype, int rows, int columns, int stride, uint32_t seed)
      : dtype_(dtype), rows_(rows), columns_(columns), stride_(stride) {
    constexpr int kExtraRows = 5;
    bits_.assign(size_t(rows + kExtraRows) * stride, kPoison16);
    k_.resize(size_t(rows) * columns);
    uint16_t encoded[256];
    for (int i = 0; i < 256; ++i) StoreElement(&encoded[i], dtype, ValueOf(i));
    std::mt19937 rng(seed);
    for (int r = 0; r < rows; ++r) {
      uint32_t word = 0;
      for (int c = 0; c < columns; ++c) {
        if (c % 4 == 0) word = rng();
        const uint8_t i = word >> (c % 4 * 8);
        k_[size_t(r) * columns + c] = i;
        bits_[size_t(r) * stride + c] = encoded[i];
      }
    }
  }

  int rows() const { return rows_; }
  int columns() const { return columns_; }
  int stride() const { return stride_; }
  DType dtype() const { return dtype_; }
  const std::vector<uint16_t>& bits() const { return bits_; }
  const uint8_t* Row(int r) const { return &k_[size_t(r) * columns_]; }
  static float ValueOf(uint8_t i) { return std::max(int(i) - 128, -127) / 128.0f; }

 private:
  DType dtype_;
  int rows_, columns_, stride_;
  std::vector<uint16_t> bits_;
  std::vector<uint8_t> k_;
};

struct Dot {
  double value = 0;
  double magnitude = 0;  // sum of |products|: what rounding errors scale with
};

inline Dot DotOf(const uint8_t* a, const uint8_t* b, int n) {
  int64_t sum = 0, magnitude = 0;  // exact: products are integers / 2^14
  for (int i = 0; i < n; ++i) {
    const int p = std::max(int(a[i]) - 128, -127) * std::max(int(b[i]) - 128, -127);
    sum += p;
    magnitude += p < 0 ? -p : p;
  }
  return {sum / 16384.0, magnitude / 16384.0};
}

// Every index if there are few, else both ends, the edges of tiles and of warps, and a sample.
inline std::vector<int> Sample(int size, int wanted, uint32_t seed) {
  std::vector<int> at;
  if (size <= wanted) {
    for (int i = 0; i < size; ++i) at.push_back(i);
    return at;
  }
  for (int edge : {0, 8, 16, 64, 128, 256, size / 256 * 256, size / 128 * 128, size}) {
    for (int i : {edge - 1, edge, edge + 1}) {
      if (i >= 0 && i < size) at.push_back(i);
    }
  }
  std::mt19937 rng(seed);
  while (static_cast<int>(at.size()) < wanted) at.push_back(rng() % size);
  std::sort(at.begin(), at.end());
  at.erase(std::unique(at.begin(), at.end()), at.end());
  return at;
}

// What came back, [m + extra, stride] filled with 0xFF before the run.
struct GotMatrix {
  DType dtype;
  int rows, columns, stride;
  std::vector<unsigned char> bytes;

  int element_bytes() const { return GeometryOf(dtype).block_bytes; }
  const unsigned char* At(int r, int c) const {
    return &bytes[(size_t(r) * stride + c) * element_bytes()];
  }
  bool Untouched(int r, int c) const {
    return std::all_of(At(r, c), At(r, c) + element_bytes(), [](int b) { return b == 0xFF; });
  }
};

// Every output was written, nothing around it was.
inline void ExpectExactlyWritten(const GotMatrix& got, const std::string& name) {
  int64_t unwritten = 0, stray = 0;
  int first[4] = {-1, -1, -1, -1};
  const int all_rows = static_cast<int>(got.bytes.size() / got.element_bytes() / got.stride);
  for (int r = 0; r < all_rows; ++r) {
    for (int c = 0; c < got.stride; ++c) {
      const bool inside = r < got.rows && c < got.columns;
      if (got.Untouched(r, c) != inside) continue;
      int* at = first + (inside ? 0 : 2);
      if (at[0] < 0) at[0] = r, at[1] = c;
      ++(inside ? unwritten : stray);
    }
  }
  EXPECT_EQ(unwritten, 0) << name << ": first unwritten output at token " << first[0] << " row "
                          << first[1];
  EXPECT_EQ(stray, 0) << name << ": first stray write at token " << first[2] << " row " << first[3];
}

// Compares with the reference: all outputs of small products, samples of large ones.
inline void ExpectProduct(const RandomMatrix& x, const RandomMatrix& w,
                          const std::vector<float>& bias, const GotMatrix& got,
                          const std::string& name) {
  const double one_rounding = got.dtype == DType::kF32   ? 0x1p-23
                              : got.dtype == DType::kF16 ? 0x1p-11
                                                         : 0x1p-8;
  const bool small = double(got.rows) * got.columns * w.columns() < 4e7;
  const auto tokens = Sample(got.rows, small ? got.rows : 14, 1);
  const auto outputs = Sample(got.columns, small ? got.columns : 90, 2);
  double worst = 0;
  int64_t wrong = 0;
  std::string examples;
  int low[2] = {1 << 30, 1 << 30}, high[2] = {-1, -1};
  for (int t : tokens) {
    for (int n : outputs) {
      const Dot dot = DotOf(x.Row(t), w.Row(n), w.columns());
      const double want = dot.value + (bias.empty() ? 0.0 : bias[n]);
      const double value = LoadElement(got.At(t, n), got.dtype);
      const double allowed = 1e-5 * dot.magnitude + one_rounding * std::fabs(want) + 1e-5;
      const double error = std::fabs(value - want) / allowed;
      if (error <= 1) {
        worst = std::max(worst, error);
        continue;
      }
      ++wrong;
      low[0] = std::min(low[0], t), low[1] = std::min(low[1], n);
      high[0] = std::max(high[0], t), high[1] = std::max(high[1], n);
      if (wrong <= 12) {
        examples += "\n  token " + std::to_string(t) + " row " + std::to_string(n) + ": got " +
                    std::to_string(value) + " want " + std::to_string(want);
      }
    }
  }
  EXPECT_EQ(wrong, 0) << name << ": of " << tokens.size() * outputs.size() << ", in tokens "
                      << low[0] << ".." << high[0] << ", rows " << low[1] << ".." << high[1]
                      << ", worst of the right ones " << worst << " of the allowance" << examples;
}

}  // namespace slipstream::kernels
