// Matrix products of every weight type on every instruction set of this machine.
#include <gtest/gtest.h>

#include "kernels/api/gemm.h"
#include "tests/kernels/cpu/random_weights.h"

namespace slipstream::kernels::test {
namespace {

struct Case {
  DType dtype;
  Isa isa;
};

class GemmTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    kernels_ = KernelsFor(GetParam().isa);
    if (kernels_ == nullptr) GTEST_SKIP() << "this machine lacks the instruction set";
  }
  const CpuKernels* kernels_ = nullptr;
};

int64_t ColsUnit(DType t) { return GeometryOf(t).block_elems == 1 ? 1 : GeometryOf(t).block_elems; }

// What the activations' own rounding may cost: int8 runs err by max/254 per value, bf16 by 2^-9.
double Tolerance(const CpuKernels& k, DType t, const float* x, const float* w, int64_t cols) {
  double norm = 0.0, product = 0.0;
  for (int64_t i = 0; i < cols; ++i) {
    norm += static_cast<double>(w[i]) * w[i];
    product += std::fabs(static_cast<double>(x[i]) * w[i]);
  }
  switch (k.act_form(t)) {
    case ActForm::kInt8: {
      double max = 0.0;
      for (int64_t i = 0; i < cols; ++i) max = std::max<double>(max, std::fabs(x[i]));
      // Independent errors, uniform within half a step: five standard deviations.
      return 5.0 * std::sqrt(norm) * max / 254.0 / std::sqrt(3.0) + 1e-5 * product;
    }
    case ActForm::kBf16:
      return 5e-3 * std::sqrt(norm) * 3.0 + 1e-5 * product;
    case ActForm::kF32:
      return 1e-5 * product + 1e-7;
  }
  return 0.0;
}

TEST_P(GemmTest, AgreesWithTheReference) {
  const DType t = GetParam().dtype;
  const int64_t unit = ColsUnit(t);
  for (const int64_t cols :
       {unit * (unit == 1 ? 37 : 1), unit * (unit == 1 ? 576 : 18 / (unit / 32) + 1)}) {
    for (const int64_t rows : {1, 16, 45, 131}) {
      const auto bytes = RandomWeights(t, rows * cols, 7);
      const auto w = Dequantized(t, bytes, rows * cols);
      ASSERT_FALSE(w.empty());
      const Packed packed(t, rows, cols, bytes.data());
      ASSERT_EQ(packed.status(), KernelStatus::kOk);
      const auto bias = RandomFloats(static_cast<size_t>(rows), 3);
      for (const int64_t m : {1, 2, 5, 16, 23, 40}) {
        const auto x = RandomFloats(static_cast<size_t>(m * cols), 11);
        std::vector<float> want(static_cast<size_t>(m * rows));
        reference::MatMul(x.data(), w.data(), bias.data(), m, rows, cols, want.data());
        const auto got = RunGemm(*kernels_, packed.matrix(), x.data(), m, bias.data());
        for (int64_t i = 0; i < m * rows; ++i) {
          const double tol =
              Tolerance(*kernels_, t, &x[i / rows * cols], &w[i % rows * cols], cols);
          ASSERT_NEAR(got[i], want[i], tol) << "m " << m << " n " << rows << " k " << cols << " at "
                                            << i / rows << ", " << i % rows;
        }
      }
    }
  }
}

TEST_P(GemmTest, RowDoesNotDependOnTheOthers) {
  const DType t = GetParam().dtype;
  const int64_t cols = IsQuantized(t) ? 512 : 517, rows = 77, m = 41;
  const auto bytes = RandomWeights(t, rows * cols, 5);
  const Packed packed(t, rows, cols, bytes.data());
  const auto x = RandomFloats(static_cast<size_t>(m * cols), 13);
  const auto all = RunGemm(*kernels_, packed.matrix(), x.data(), m, nullptr);
  for (const int64_t n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 21, 32, 33, 40}) {
    const int64_t first = m - n;
    const auto some = RunGemm(*kernels_, packed.matrix(), &x[first * cols], n, nullptr);
    ASSERT_EQ(0, std::memcmp(some.data(), &all[first * rows], some.size() * sizeof(float)))
        << n << " rows";
  }
}

// Nor at the largest sums a run of Q6_K can have, where an inexact step of one kernel would show.
TEST_P(GemmTest, RowDoesNotDependOnTheOthersAtTheLargestSums) {
  if (GetParam().dtype != DType::kQ6_K) return;
  const int64_t cols = 512, rows = 16, m = 33;
  std::vector<uint8_t> bytes(BytesOf(DType::kQ6_K, rows * cols), 0);  // quants of -32
  for (size_t block = 0; block < bytes.size(); block += 210) {
    for (size_t i = 0; i < 16; ++i) bytes[block + 192 + i] = 0x80;  // scales of -128
    bytes[block + 208] = bytes[block + 209] = 0x2c;
  }
  const Packed packed(DType::kQ6_K, rows, cols, bytes.data());
  std::vector<float> x(static_cast<size_t>(m * cols), 1.0f);
  for (size_t i = 0; i < x.size(); i += 97) x[i] = 0.99f;  // odd sums
  const auto all = RunGemm(*kernels_, packed.matrix(), x.data(), m, nullptr);
  for (int64_t row = 0; row < m; ++row) {
    const auto one = RunGemm(*kernels_, packed.matrix(), &x[row * cols], 1, nullptr);
    ASSERT_EQ(0, std::memcmp(one.data(), &all[row * rows], one.size() * sizeof(float))) << row;
  }
}

TEST_P(GemmTest, ResultDoesNotDependOnTheNumberOfWorkers) {
  const DType t = GetParam().dtype;
  const int64_t cols = 256, rows = 200, m = 19;
  const auto bytes = RandomWeights(t, rows * cols, 5);
  const Packed packed(t, rows, cols, bytes.data());
  const auto x = RandomFloats(static_cast<size_t>(m * cols), 13);
  const auto one = RunGemm(*kernels_, packed.matrix(), x.data(), m, nullptr);
  for (const int workers : {2, 3, 7, 16}) {
    const auto many = RunGemm(*kernels_, packed.matrix(), x.data(), m, nullptr, workers);
    ASSERT_EQ(0, std::memcmp(one.data(), many.data(), one.size() * sizeof(float))) << workers;
  }
}

// A run of zeros has scale 0; a huge and a tiny value must not overflow or divide by zero.
TEST_P(GemmTest, ExtremeActivations) {
  const DType t = GetParam().dtype;
  const int64_t cols = 256, rows = 16;
  const auto bytes = RandomWeights(t, rows * cols, 5);
  const Packed packed(t, rows, cols, bytes.data());
  for (const float value : {0.0f, 1e-42f, 1e-30f, 1e30f}) {
    std::vector<float> x(static_cast<size_t>(cols), 0.0f);
    x[40] = value;
    for (const float y : RunGemm(*kernels_, packed.matrix(), x.data(), 1, nullptr)) {
      ASSERT_TRUE(std::isfinite(y)) << value;
    }
  }
}

TEST_P(GemmTest, EmbeddingRowsAreTheTable) {
  const DType t = GetParam().dtype;
  const int64_t cols = IsQuantized(t) ? 512 : 133, rows = 37;
  const auto bytes = RandomWeights(t, rows * cols, 17);
  const auto w = Dequantized(t, bytes, rows * cols);
  const Packed packed(t, rows, cols, bytes.data());
  const std::vector<int32_t> ids = {36, 0, 15, 16, 16};
  std::vector<float> out(ids.size() * static_cast<size_t>(cols), kPoison);
  const EmbedParams p{&packed.matrix(), ids.data(), static_cast<int64_t>(ids.size()), 2.0f,
                      out.data()};
  for (int i = 0; i < 2; ++i) kernels_->embed(p, {i, 2});
  for (size_t i = 0; i < out.size(); ++i) {
    const float want = 2.0f * w[ids[i / cols] * cols + i % cols];
    ASSERT_NEAR(out[i], want, 1e-6f * std::fabs(want) + 1e-7f) << i;
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Isa isa : AllIsas()) {
    for (const DType t : WeightTypes()) cases.push_back({t, isa});
  }
  return cases;
}

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  return std::string(NameOf(info.param.dtype)) + "_" + IsaName(info.param.isa);
}

INSTANTIATE_TEST_SUITE_P(All, GemmTest, ::testing::ValuesIn(Cases()), CaseName);

TEST(PackedLayoutTest, KeepsTheSizeOfTheFile) {
  for (const DType t : WeightTypes()) {
    PackedMatrix m;
    ASSERT_EQ(PackedLayout(t, 576, 1536, &m), KernelStatus::kOk);
    EXPECT_LE(static_cast<double>(m.bytes()), 1.03 * static_cast<double>(BytesOf(t, 576 * 1536)))
        << NameOf(t);
  }
}

TEST(PackedLayoutTest, RefusesWhatIsNoWeight) {
  PackedMatrix m;
  EXPECT_EQ(PackedLayout(DType::kI32, 16, 32, &m), KernelStatus::kUnsupported);
  EXPECT_EQ(PackedLayout(DType::kQ4_0, 16, 33, &m), KernelStatus::kInvalidArgument);
  EXPECT_EQ(PackedLayout(DType::kQ6_K, 16, 128, &m), KernelStatus::kInvalidArgument);
}

}  // namespace
}  // namespace slipstream::kernels::test
