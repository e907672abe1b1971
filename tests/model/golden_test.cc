// Every family against transformers in float32, token by token, and against itself: however a
// sequence is cut into steps and whatever shares its batch, its logits are the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <iostream>
#include <ostream>

#include "tests/model/golden_harness.h"
#include "tests/model/reference_backend.h"

namespace slipstream::testing {
namespace {

constexpr float kTolerance = 1e-4f;
constexpr int kMaxTokens = 256;

struct GoldenCase {
  std::string backend, fixture;
};

void PrintTo(const GoldenCase& value, std::ostream* os) {
  *os << value.backend << ' ' << value.fixture;
}

std::unique_ptr<Backend> MakeBackend(const std::string& name) {
  if (name == "reference") return MakeReferenceBackend();
  auto backend = MakeCpuBackend(2);
  if (!backend) {
    ADD_FAILURE() << backend.error().message;
    return nullptr;
  }
  return std::move(*backend);
}

class GoldenTest : public ::testing::TestWithParam<GoldenCase> {
 protected:
  void SetUp() override {
    fixture_ = LoadFixture(GetParam().fixture);
    ASSERT_NE(fixture_.checkpoint, nullptr);
    backend_ = MakeBackend(GetParam().backend);
    ASSERT_NE(backend_, nullptr);
    auto model = BuildModel(*fixture_.checkpoint, *backend_);
    ASSERT_TRUE(model) << model.error().message;
    model_ = std::move(*model);
    ASSERT_TRUE(model_->Reserve(LimitsFor(*backend_, kMaxTokens)));
  }

  int num_tokens() const { return static_cast<int>(fixture_.token_ids.size()); }

  std::vector<float> Run(const std::vector<int>& pattern, bool last_only = false,
                         DType kv_dtype = DType::kF32) {
    return RunSchedule(*model_, *backend_,
                       {{fixture_.token_ids, RepeatChunks(num_tokens(), pattern)}}, last_only,
                       kv_dtype)[0];
  }

  static bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && !a.empty() &&
           std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  }

  GoldenFixture fixture_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<DecoderModel> model_;
};

float MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
  float worst = a.size() == b.size() ? 0.0f : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float d = std::fabs(a[i] - b[i]);
    if (!(d <= worst)) worst = d;  // NaN stays
  }
  return worst;
}

TEST_P(GoldenTest, PrefillChunksAndDecodeEqualTransformers) {
  for (const std::vector<int>& pattern :
       {std::vector<int>{kMaxTokens}, std::vector<int>{7, 1, 13, 3}, std::vector<int>{1}}) {
    const float worst = MaxDifference(Run(pattern), fixture_.logits);
    EXPECT_LT(worst, kTolerance) << "chunks of " << pattern[0];
    std::cout << GetParam().backend << ' ' << GetParam().fixture << " chunks of " << pattern[0]
              << ": max |difference| " << worst << '\n';
  }
}

TEST_P(GoldenTest, CutOfTheSequenceDoesNotMoveABit) {
  const std::vector<float> whole = Run({kMaxTokens});
  EXPECT_TRUE(SameBits(whole, Run({7, 1, 13, 3}))) << "odd chunks";
  EXPECT_TRUE(SameBits(whole, Run({1}))) << "token by token";
  EXPECT_TRUE(SameBits(whole, Run({num_tokens() - 3, 1}))) << "prefill, then decode";
}

TEST_P(GoldenTest, BatchedWithOthersEqualsAlone) {
  std::vector<ScheduledSequence> sequences;
  for (const int drop : {0, 5, 17}) {
    const std::vector<int32_t> ids(fixture_.token_ids.begin() + drop, fixture_.token_ids.end());
    const int n = static_cast<int>(ids.size());
    sequences.push_back({ids, RepeatChunks(n, drop == 5 ? std::vector<int>{1}
                                                        : std::vector<int>{11 + drop, 1, 2})});
  }
  const auto together = RunSchedule(*model_, *backend_, sequences);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto alone = RunSchedule(*model_, *backend_, {sequences[i]});
    EXPECT_TRUE(SameBits(together[i], alone[0])) << "sequence " << i;
  }
}

TEST_P(GoldenTest, OnlyTheWantedRowsGoThroughTheHead) {
  const std::vector<float> whole = Run({kMaxTokens});
  const int64_t vocab = model_->config().vocab_size;
  const std::vector<float> last(whole.end() - vocab, whole.end());
  EXPECT_TRUE(SameBits(last, Run({kMaxTokens}, true)));
  EXPECT_TRUE(SameBits(last, Run({9, 4}, true)));
}

// Logits may move by what rounding K and V to 8 (BF16) or 11 bits costs; cuts still move nothing.
TEST_P(GoldenTest, SixteenBitKvStaysCloseAndDoesNotDependOnCuts) {
  for (const auto& [dtype, tolerance] : {std::pair{DType::kBF16, 0.2f}, {DType::kF16, 0.02f}}) {
    if (!backend_->supports_kv_dtype(dtype)) continue;
    const std::vector<float> whole = Run({kMaxTokens}, false, dtype);
    const float worst = MaxDifference(whole, fixture_.logits);
    EXPECT_LT(worst, tolerance) << NameOf(dtype);
    EXPECT_TRUE(SameBits(whole, Run({7, 1, 13, 3}, false, dtype))) << NameOf(dtype);
    std::cout << GetParam().backend << ' ' << GetParam().fixture << ' ' << NameOf(dtype)
              << " KV: max |difference| " << worst << '\n';
  }
}

std::vector<GoldenCase> AllCases() {
  std::vector<GoldenCase> out;
  for (const char* backend : {"reference", "cpu"}) {
    for (const char* fixture :
         {"llama2", "llama3", "llama_linear", "llama_yarn", "llama_bias", "llama_mlp_bias",
          "smollm", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"}) {
      out.push_back({backend, fixture});
    }
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenTest, ::testing::ValuesIn(AllCases()),
                         [](const auto& info) {
                           return info.param.backend + "_" + info.param.fixture;
                         });

}  // namespace
}  // namespace slipstream::testing
