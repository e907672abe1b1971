// The CPU backend through its public interface: every op against a composition of references.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "backend/backend.h"
#include "kernels/api/activation.h"
#include "kernels/api/cpu_attention.h"
#include "kernels/api/gemm.h"
#include "kernels/api/norm.h"
#include "kernels/api/quantize.h"
#include "kernels/api/rope.h"

namespace slipstream {
namespace {

using kernels::KernelStatus;

std::vector<float> Random(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> dist;
  std::vector<float> v(n);
  for (float& x : v) x = dist(rng);
  return v;
}

TensorView View(std::vector<float>& v, int64_t rows) {
  return {v.data(), DType::kF32, {rows, static_cast<int64_t>(v.size()) / rows}};
}

// Q8_0 rows with scale 1/128: values are random int8.
std::vector<uint8_t> RandomQ8(int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<uint8_t> bytes(BytesOf(DType::kQ8_0, static_cast<size_t>(rows * cols)));
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = i % 34 == 0 ? 0x00 : i % 34 == 1 ? 0x20 : static_cast<uint8_t>(rng());
  }
  return bytes;
}

class CpuBackendTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    auto made = MakeCpuBackend(GetParam());
    ASSERT_TRUE(made.has_value()) << made.error().message;
    backend_ = std::move(*made);
  }
  void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, float tolerance) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance) << i;
  }
  std::unique_ptr<Backend> backend_;
};

TEST_P(CpuBackendTest, StackedLinearOfMixedTypes) {
  const int64_t k = 64, m = 19;
  auto a = Random(40 * k, 1), c = Random(24 * k, 2);
  const auto q = RandomQ8(33, k, 3);
  const std::vector<WeightView> parts = {{a.data(), DType::kF32, 40, k},
                                         {c.data(), DType::kF32, 24, k},
                                         {q.data(), DType::kQ8_0, 33, k}};
  const auto bias = Random(97, 4);
  auto linear = backend_->MakeLinear(parts, bias);
  ASSERT_TRUE(linear.has_value()) << linear.error().message;
  EXPECT_EQ((*linear)->in_features(), k);
  EXPECT_EQ((*linear)->out_features(), 97);
  std::vector<float> w = a;
  w.insert(w.end(), c.begin(), c.end());
  w.resize(static_cast<size_t>(97 * k));
  ASSERT_EQ(kernels::reference::Dequantize(DType::kQ8_0, q.data(), 33 * k, &w[64 * k]),
            KernelStatus::kOk);
  auto x = Random(m * k, 5);
  std::vector<float> want(m * 97), got(m * 97, NAN);
  kernels::reference::MatMul(x.data(), w.data(), bias.data(), m, 97, k, want.data());
  backend_->MatMul(**linear, View(x, m), View(got, m));
  ExpectNear(got, want, 0.2f);
  // One row alone gives the same bits.
  std::vector<float> row(x.begin() + 7 * k, x.begin() + 8 * k), one(97, NAN);
  backend_->MatMul(**linear, View(row, 1), View(one, 1));
  EXPECT_EQ(0, std::memcmp(one.data(), &got[7 * 97], 97 * sizeof(float)));
  EXPECT_TRUE(backend_->Synchronize().has_value());
}

TEST_P(CpuBackendTest, TiedEmbedding) {
  const int64_t rows = 50, k = 96;
  const auto q = RandomQ8(rows, k, 6);
  std::vector<float> w(rows * k);
  ASSERT_EQ(kernels::reference::Dequantize(DType::kQ8_0, q.data(), rows * k, w.data()),
            KernelStatus::kOk);
  auto table = backend_->MakeEmbedding({q.data(), DType::kQ8_0, rows, k});
  ASSERT_TRUE(table.has_value()) << table.error().message;
  auto head = backend_->MakeTiedLinear(**table);
  ASSERT_TRUE(head.has_value()) << head.error().message;
  const std::vector<int32_t> ids = {49, 0, 17, 17};
  std::vector<float> out(ids.size() * k, NAN), want;
  backend_->Embed(**table, ids, 3.0f, View(out, 4));
  for (const int32_t id : ids) {
    for (int64_t i = 0; i < k; ++i) want.push_back(3.0f * w[id * k + i]);
  }
  ExpectNear(out, want, 1e-5f);
  std::vector<float> logits(4 * rows, NAN), want_logits(4 * rows);
  kernels::reference::MatMul(out.data(), w.data(), nullptr, 4, rows, k, want_logits.data());
  table->reset();  // the projection keeps the memory
  backend_->MatMul(**head, View(out, 4), View(logits, 4));
  ExpectNear(logits, want_logits, 1.0f);
}

TEST_P(CpuBackendTest, NormsActivationsAndRows) {
  const int64_t m = 33, h = 300;
  auto x = Random(m * h, 7), delta = Random(m * h, 8);
  const auto weight = Random(h, 9);
  std::vector<float> want(m * h), got(m * h, NAN);
  kernels::reference::RmsNorm({x.data(), nullptr, weight.data(), want.data(), m, h, 1e-5f});
  backend_->RmsNorm(View(x, m), weight.data(), 1e-5f, View(got, m));
  ExpectNear(got, want, 1e-4f);
  auto residual = x, want_residual = x;
  auto want_out = delta;
  kernels::reference::RmsNorm(
      {delta.data(), want_residual.data(), weight.data(), want_out.data(), m, h, 1e-5f});
  backend_->AddRmsNorm(View(residual, m), View(delta, m), weight.data(), 1e-5f, View(delta, m));
  ExpectNear(delta, want_out, 1e-4f);
  ExpectNear(residual, want_residual, 1e-6f);
  for (const ActivationKind kind : {ActivationKind::kSilu, ActivationKind::kGeluTanh}) {
    std::vector<float> act(m * h / 2, NAN), want_act(m * h / 2);
    kernels::reference::GatedActivation(
        {x.data(), want_act.data(), m, h / 2, kind == ActivationKind::kGeluTanh});
    backend_->GatedActivation(View(x, m), kind, View(act, m));
    ExpectNear(act, want_act, 1e-5f);
  }
  const std::vector<int32_t> rows = {32, 0, 5};
  std::vector<float> picked(3 * h, NAN);
  backend_->GatherRows(View(x, m), rows, View(picked, 3));
  for (size_t i = 0; i < picked.size(); ++i) {
    ASSERT_EQ(picked[i], x[static_cast<size_t>(rows[i / h]) * h + i % h]);
  }
  auto capped = x, sum = x;
  backend_->SoftCap(View(capped, m), 1.5f);
  backend_->Add(View(sum, m), View(residual, m));
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(capped[i], 1.5f * std::tanh(x[i] / 1.5f), 1e-5f);
    ASSERT_EQ(sum[i], x[i] + residual[i]);
  }
}

TEST_P(CpuBackendTest, RopeThenPagedAttention) {
  constexpr int kHeads = 9, kKvHeads = 3, kDim = 64, kBlock = 16, kTokens = 300;
  constexpr int kWidth = (kHeads + 2 * kKvHeads) * kDim;
  auto qkv = Random(kTokens * kWidth, 10);
  const auto cos = Random(kTokens * kDim / 2, 11), sin = Random(kTokens * kDim / 2, 12);
  const RopeTable rope{cos.data(), sin.data(), kTokens, kDim, RopeLayout::kNeox};
  std::vector<int32_t> table(20), positions(kTokens);
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), std::mt19937(1));
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<int64_t> slots;
  for (int t = 0; t < kTokens; ++t) slots.push_back(table[t / kBlock] * kBlock + t % kBlock);
  const int64_t tile = kBlock * kDim;
  auto memory = backend_->Allocate(static_cast<size_t>(2 * 20 * kKvHeads * tile) * sizeof(float));
  ASSERT_TRUE(memory.has_value());
  auto* base = static_cast<float*>((*memory)->data());
  const KvLayerView kv{
      base, base + 20 * kKvHeads * tile, DType::kF32, kKvHeads * tile, tile, kBlock, kKvHeads,
      kDim};
  auto rotated = qkv;
  for (int t = 0; t < kTokens; ++t) {
    for (int h = 0; h < kHeads + kKvHeads; ++h) {
      kernels::reference::NormAndRotate(&rotated[t * kWidth + h * kDim], kDim, nullptr, 0.0f,
                                        &cos[t * kDim / 2], &sin[t * kDim / 2], kDim, false);
    }
  }
  const int32_t query_start[] = {0, kTokens};
  const int32_t kv_len[] = {kTokens};
  const AttentionBatch batch{1,  kTokens,          query_start, kv_len, table.data(),
                             20, positions.data(), slots.data()};
  backend_->RopeAndWriteKv(View(qkv, kTokens), kHeads, nullptr, nullptr, 0.0f, &rope, batch, kv);
  std::vector<float> out(kTokens * kHeads * kDim, NAN);
  backend_->Attention(View(qkv, kTokens), kv, batch, {kHeads, 0.125f, 0, 0.0f}, View(out, kTokens));
  for (const int t : {0, 1, 15, 16, 255, 256, 299}) {
    for (int h = 0; h < kHeads; ++h) {
      std::vector<float> k, v, want(kDim);
      for (int j = 0; j <= t; ++j) {
        const float* row = &rotated[j * kWidth];
        const float* kj = row + (kHeads + h / 3) * kDim;
        const float* vj = row + (kHeads + kKvHeads + h / 3) * kDim;
        k.insert(k.end(), kj, kj + kDim);
        v.insert(v.end(), vj, vj + kDim);
      }
      kernels::reference::AttendOne(&rotated[t * kWidth + h * kDim], k.data(), v.data(), t + 1,
                                    kDim, 0.125f, 0, 0.0f, want.data());
      for (int d = 0; d < kDim; ++d) {
        ASSERT_NEAR(out[(t * kHeads + h) * kDim + d], want[d], 2e-4f) << t << " " << h;
      }
    }
  }
}

TEST_P(CpuBackendTest, SaysWhatItCannotLoad) {
  const float w[64] = {};
  const WeightView bad_type{w, DType::kI32, 2, 32}, bad_cols{w, DType::kQ8_0, 2, 31};
  EXPECT_EQ(backend_->MakeLinear({&bad_type, 1}, {}).error().code, ErrorCode::kUnimplemented);
  EXPECT_EQ(backend_->MakeLinear({&bad_cols, 1}, {}).error().code, ErrorCode::kInvalidArgument);
  const WeightView good{w, DType::kF32, 2, 32};
  EXPECT_EQ(backend_->MakeLinear({&good, 1}, std::vector<float>(3)).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(backend_->MakeLinear({}, {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(backend_->Allocate(size_t{1} << 60).error().code, ErrorCode::kResourceExhausted);
}

INSTANTIATE_TEST_SUITE_P(Threads, CpuBackendTest, ::testing::Values(1, 2, 5));

TEST(MakeCpuBackendTest, RefusesNonsense) {
  EXPECT_FALSE(MakeCpuBackend(-1).has_value());
  EXPECT_FALSE(MakeCpuBackend(1 << 20).has_value());
  ASSERT_TRUE(MakeCpuBackend(0).has_value());
}

}  // namespace
}  // namespace slipstream
