// Products through cuBLASLt against float64: ranges of tokens, types, bias, strides, capture.
// Skipped where the library is missing.
#include "backend/cuda/cublaslt.h"

#include <gtest/gtest.h>

#include "tests/kernels/cuda/gemm_case.h"

namespace slipstream {
namespace {

using namespace kernels;

class CublasLtTest : public testing::Test {
 protected:
  void SetUp() override {
    SLIP_REQUIRE_DEVICE();
    workspace_ = std::make_unique<DeviceBytes>(size_t{33} << 20);
    auto made = CublasLt::Make(workspace_->get(), size_t{33} << 20);
    if (!made) GTEST_SKIP() << made.error().message;
    library_ = std::move(*made);
  }

  // `tune`: first. `accumulate`: y (kF32) holds a row of its own n values in every row before.
  void Check(DType dtype, DType y_dtype, int m, int n, int k, bool bias, bool tune = false,
             bool accumulate = false) {
    const RandomMatrix w(dtype, n, k, k + 8, n), x(dtype, m, k, k + 16, m);
    const DeviceBytes device_w(w.bits()), device_x(x.bits());
    std::vector<float> biases;
    for (int i = 0; i < n && bias; ++i) biases.push_back((i % 255 - 127) / 16.0f);
    const DeviceBytes device_bias(biases);
    GotMatrix got{y_dtype, m, n, n + 8, {}};
    const DeviceBytes y(size_t(m + 3) * got.stride * got.element_bytes());
    const MatMulArgs args{.x = device_x.get(),
                          .w = device_w.get(),
                          .y = y.get(),
                          .bias = bias ? device_bias.get<float>() : nullptr,
                          .m = m,
                          .n = n,
                          .k = k,
                          .dtype = dtype,
                          .y_dtype = y_dtype,
                          .accumulate = accumulate,
                          .x_stride = x.stride(),
                          .w_stride = w.stride(),
                          .y_stride = got.stride};
    const std::string name = std::string(NameOf(dtype)) + " to " + NameOf(y_dtype) + " m" +
                             std::to_string(m) + " n" + std::to_string(n) + " k" +
                             std::to_string(k) + (bias ? " bias" : "") +
                             (accumulate ? " accumulated" : "");
    if (tune) {
      const Status tuned = library_->Tune(args, {}, nullptr, 4);
      ASSERT_TRUE(tuned) << name << ": " << tuned.error().message;
    }
    SLIP_CUDA_OK(cudaMemset(y.get(), 0xFF, size_t(m + 3) * got.stride * got.element_bytes()));
    if (accumulate) {
      biases.resize(n);
      std::vector<float> before(n);
      for (int i = 0; i < n; ++i) before[i] = (i % 511 - 255) / 4.0f;
      for (int t = 0; t < m; ++t) {
        SLIP_CUDA_OK(cudaMemcpy(y.get<float>() + int64_t{t} * got.stride, before.data(),
                                before.size() * sizeof(float), cudaMemcpyHostToDevice));
      }
      for (int i = 0; i < n; ++i) biases[i] += before[i];
    }
    const Status done = library_->MatMul(args, nullptr);
    ASSERT_TRUE(done) << name << ": " << done.error().message;
    SLIP_CUDA_OK(cudaDeviceSynchronize());
    got.bytes = y.Download<unsigned char>();
    ExpectExactlyWritten(got, name);
    ExpectProduct(x, w, biases, got, name);
  }

  std::unique_ptr<DeviceBytes> workspace_;
  std::unique_ptr<CublasLt> library_;
};

TEST_F(CublasLtTest, TokensTypesAndBias) {
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    for (DType y : {dtype, DType::kF32}) {
      for (int m : {1, 3, 17, 100, 129, 300, 600}) {
        for (bool bias : {false, true}) Check(dtype, y, m, 512, 576, bias);
      }
    }
  }
}

TEST_F(CublasLtTest, AddsToFloats) {
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    for (int m : {65, 100, 257, 600}) {
      for (bool bias : {false, true}) Check(dtype, DType::kF32, m, 512, 576, bias, m == 600, true);
    }
  }
}

// One algorithm serves a whole range of m.
TEST_F(CublasLtTest, EveryTokenCountOfARange) {
  for (int m = 1; m <= 70; ++m) Check(DType::kBF16, DType::kBF16, m, 768, 512, m % 2 == 0);
}

TEST_F(CublasLtTest, TunedAlgorithm) {
  Check(DType::kBF16, DType::kBF16, 256, 1024, 1024, true, true);
  Check(DType::kBF16, DType::kBF16, 250, 1024, 1024, true);
}

}  // namespace
}  // namespace slipstream
