// Every family on the GPU against transformers in float32. Stated tolerances: what 16-bit
// activations cost, as a share of the largest logit. How a sequence is cut, batched, recorded or
// overlapped may move logits by rounding alone.
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "backend/devices.h"
#include "tests/model/golden_harness.h"

namespace slipstream::testing {
namespace {

constexpr int kMaxTokens = 256;

struct Case {
  DType dtype;
  std::string fixture;
};

// Of the largest |logit|. bf16 keeps 8 bits, fp16 11; the products of some layers add up.
float ToleranceOf(DType dtype) { return dtype == DType::kBF16 ? 0.08f : 0.01f; }

struct Difference {
  float worst = 0;
  double mean_square = 0;
};

Difference Compare(const std::vector<float>& a, const std::vector<float>& b) {
  Difference out;
  if (a.size() != b.size() || a.empty()) return {INFINITY, INFINITY};
  for (size_t i = 0; i < a.size(); ++i) {
    const float d = std::fabs(a[i] - b[i]);
    if (!(d <= out.worst)) out.worst = d;  // NaN stays
    out.mean_square += static_cast<double>(d) * d / static_cast<double>(a.size());
  }
  return out;
}

float Largest(const std::vector<float>& values) {
  float largest = 0;
  for (const float v : values) largest = std::max(largest, std::fabs(v));
  return largest;
}

class CudaGoldenTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto devices = ListCudaDevices();
    if (!devices || devices->empty()) GTEST_SKIP() << "no sm_90 device";
    fixture_ = LoadFixture(GetParam().fixture);
    ASSERT_NE(fixture_.checkpoint, nullptr);
  }

  // Logits of the fixture's sequence cut by `pattern`.
  std::vector<float> Run(const std::vector<int>& pattern, CudaOptions options = {}) {
    options.activation_dtype = GetParam().dtype;
    return RunAll({{fixture_.token_ids, RepeatChunks(num_tokens(), pattern)}}, options)[0];
  }

  std::vector<std::vector<float>> RunAll(const std::vector<ScheduledSequence>& sequences,
                                         const CudaOptions& options) {
    auto backend = MakeCudaBackend(options);
    if (!backend) {
      ADD_FAILURE() << backend.error().message;
      return std::vector<std::vector<float>>(sequences.size());
    }
    auto model = BuildModel(*fixture_.checkpoint, **backend);
    Status reserved = model ? (*model)->Reserve(LimitsFor(**backend, kMaxTokens))
                            : Status(tl::unexpected(model.error()));
    if (!reserved) {
      ADD_FAILURE() << reserved.error().message;
      return std::vector<std::vector<float>>(sequences.size());
    }
    return RunSchedule(**model, **backend, sequences, false, options.activation_dtype);
  }

  void ExpectClose(const std::vector<float>& got, const std::vector<float>& want,
                   const std::string& what) {
    const Difference d = Compare(got, want);
    const float largest = Largest(want);
    EXPECT_LT(d.worst, ToleranceOf(GetParam().dtype) * largest) << what;
    std::cout << NameOf(GetParam().dtype) << ' ' << GetParam().fixture << ' ' << what
              << ": max |difference| " << d.worst << ", rms " << std::sqrt(d.mean_square) << " of "
              << largest << '\n';
  }

  int num_tokens() const { return static_cast<int>(fixture_.token_ids.size()); }

  GoldenFixture fixture_;
};

TEST_P(CudaGoldenTest, PrefillChunksAndDecodeEqualTransformers) {
  ExpectClose(Run({kMaxTokens}), fixture_.logits, "whole");
  ExpectClose(Run({7, 1, 13, 3}), fixture_.logits, "odd chunks");
  ExpectClose(Run({1}), fixture_.logits, "token by token, recorded");
  ExpectClose(Run({1}, {.graphs = false, .dependent_launch = false}), fixture_.logits,
              "token by token, kernel by kernel");
  ExpectClose(Run({num_tokens() - 3, 1}, {.f32_residual = false}), fixture_.logits,
              "16-bit residual");
}

TEST_P(CudaGoldenTest, BatchedWithOthersEqualsAlone) {
  std::vector<ScheduledSequence> sequences;
  for (const int drop : {0, 5, 17}) {
    const std::vector<int32_t> ids(fixture_.token_ids.begin() + drop, fixture_.token_ids.end());
    const int n = static_cast<int>(ids.size());
    sequences.push_back({ids, RepeatChunks(n, drop == 5 ? std::vector<int>{1}
                                                        : std::vector<int>{11 + drop, 1, 2})});
  }
  CudaOptions options;
  options.activation_dtype = GetParam().dtype;
  const auto together = RunAll(sequences, options);
  for (size_t i = 0; i < sequences.size(); ++i) {
    ExpectClose(together[i], RunAll({sequences[i]}, options)[0],
                "sequence " + std::to_string(i) + " of a batch");
  }
}

std::vector<Case> AllCases() {
  std::vector<Case> out;
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const char* fixture :
         {"llama2", "llama3", "llama_linear", "llama_yarn", "llama_bias", "llama_mlp_bias",
          "smollm", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"}) {
      out.push_back({dtype, fixture});
    }
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Families, CudaGoldenTest, ::testing::ValuesIn(AllCases()),
                         [](const auto& info) {
                           return std::string(NameOf(info.param.dtype)) + "_" + info.param.fixture;
                         });

}  // namespace
}  // namespace slipstream::testing
