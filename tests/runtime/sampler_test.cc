#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace slipstream {
namespace {

constexpr int kVocab = 300;

class SamplerTest : public ::testing::Test {
 protected:
  SamplerTest() : sampler_(4, kVocab), logits_(kVocab, -5.0f) {}

  void Load(const SamplingParams& params, uint64_t seed = 1, std::vector<int32_t> prompt = {},
            std::vector<int32_t> output = {}, std::vector<int32_t> stop = {}) {
    SamplerSlotUpdate update{.slot = 2,
                             .params = std::make_shared<SamplingParams>(params),
                             .seed = seed,
                             .prompt_ids = std::move(prompt),
                             .output_ids = std::move(output),
                             .stop_ids = std::move(stop)};
    const Status loaded = sampler_.Update(update);
    ASSERT_TRUE(loaded) << loaded.error().message;
  }

  SampledToken Sample(int32_t target = -1) {
    const std::vector<float> before = logits_;
    const auto out = sampler_.Sample({.row = 0, .slot = 2, .target = target}, logits_);
    EXPECT_EQ(before, logits_) << "the row must come back as it was";
    EXPECT_TRUE(out) << (out ? "" : out.error().message);
    return out.value_or(SampledToken{.token = -1});
  }

  // How often each token came in `draws` draws of one slot.
  std::map<int32_t, double> Frequencies(const SamplingParams& params, int draws = 20000) {
    Load(params);
    std::map<int32_t, double> out;
    for (int i = 0; i < draws; ++i) out[Sample().token] += 1.0 / draws;
    return out;
  }

  void SetProbabilities(const std::map<int32_t, double>& p) {
    std::fill(logits_.begin(), logits_.end(), -1000.0f);
    for (const auto& [token, probability] : p) {
      logits_[token] = static_cast<float>(std::log(probability));
    }
  }

  Sampler sampler_;
  std::vector<float> logits_;
};

TEST_F(SamplerTest, OnlyAllowedTokensAreDrawn) {
  std::vector<uint32_t> allowed((kVocab + 31) / 32, 0);
  const auto allow = [&](int32_t token) { allowed[token / 32] |= uint32_t{1} << token % 32; };
  allow(7), allow(31), allow(32), allow(299);
  allowed.back() |= uint32_t{1} << 31;  // beyond the vocabulary: not there
  logits_[100] = 50.0f;                 // what the model wants
  logits_[32] = 1.0f;
  logits_[299] = 0.5f;
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 0}, SamplingParams{.temperature = 2, .top_k = 3},
        SamplingParams{.temperature = 2, .top_p = 0.9f}, SamplingParams{.temperature = 2},
        SamplingParams{.temperature = 1, .repetition_penalty = 2, .num_logprobs = 2}}) {
    Load(params);
    std::set<int32_t> seen;
    for (int i = 0; i < 2000; ++i) {
      const std::vector<float> before = logits_;
      const auto out = sampler_.Sample({.row = 0, .slot = 2, .mask = 0}, logits_, allowed);
      ASSERT_TRUE(out) << out.error().message;
      ASSERT_EQ(before, logits_);
      seen.insert(out->token);
      if (params.num_logprobs < 0) continue;
      ASSERT_EQ(out->top[0].token, 100) << "log probabilities are of the model, not of the grammar";
    }
    for (const int32_t token : seen) {
      EXPECT_TRUE(token == 7 || token == 31 || token == 32 || token == 299) << token;
    }
    if (params.temperature == 0) EXPECT_EQ(seen, std::set<int32_t>{32});
  }
  Load({.temperature = 0}, 1, {}, {}, {});
  allowed.assign(allowed.size(), 0);
  EXPECT_FALSE(sampler_.Sample({.row = 0, .slot = 2, .mask = 0}, logits_, allowed));
}

TEST(MaskOf, FindsTheMaskOfARow) {
  const std::vector<uint32_t> masks = {1, 2, 3, 4};
  EXPECT_TRUE(MaskOf({.mask = -1}, masks, 40).empty());
  EXPECT_TRUE(MaskOf({.target = 3, .mask = 1}, masks, 40).empty());
  EXPECT_EQ(MaskOf({.mask = 1}, masks, 40).data(), masks.data() + 2);
  EXPECT_EQ(MaskOf({.mask = 1}, masks, 40).size(), 2u);
}

SamplingParams Greedy() { return {.temperature = 0.0f}; }

TEST_F(SamplerTest, GreedyTakesTheLowestIdOnTies) {
  logits_[17] = logits_[200] = 3.0f;
  Load(Greedy());
  EXPECT_EQ(Sample().token, 17);
  EXPECT_EQ(*sampler_.LastToken(2), 17);
  EXPECT_FALSE(sampler_.LastToken(1));
  EXPECT_FALSE(sampler_.LastToken(-1));
}

TEST_F(SamplerTest, RepetitionPenaltyDividesPositiveAndMultipliesNegative) {
  SamplingParams params = Greedy();
  params.repetition_penalty = 2.0f;
  logits_[10] = 3.0f;
  logits_[11] = 1.6f;
  Load(params, 1, {10});
  EXPECT_EQ(Sample().token, 11);  // 3 / 2 < 1.6; and now 11 counts too
  EXPECT_EQ(Sample().token, 10);  // 1.5 > 0.8
  std::fill(logits_.begin(), logits_.end(), -2.0f);
  logits_[20] = -1.5f;
  Load(params, 1, {20});
  EXPECT_EQ(Sample().token, 0);  // -3 < -2
}

TEST_F(SamplerTest, FrequencyAndPresenceCountOutputOnly) {
  SamplingParams params = Greedy();
  params.frequency_penalty = 0.5f;
  logits_[10] = 2.0f;
  logits_[11] = 0.9f;
  Load(params, 1, {10, 10, 10, 10});
  EXPECT_EQ(Sample().token, 10);  // 2.0
  EXPECT_EQ(Sample().token, 10);  // 1.5
  EXPECT_EQ(Sample().token, 10);  // 1.0
  EXPECT_EQ(Sample().token, 11);  // 0.5 < 0.9
  params = Greedy();
  params.presence_penalty = 1.2f;
  Load(params, 1, {}, {10, 10});
  EXPECT_EQ(Sample().token, 11);  // 0.8 < 0.9, once however often it was there
  logits_[10] = 2.2f;
  EXPECT_EQ(Sample().token, 10);
}

TEST_F(SamplerTest, BiasAndMinTokens) {
  SamplingParams params = Greedy();
  params.logit_bias = {{30, 100.0f}, {31, -100.0f}};
  params.min_tokens = 2;
  params.max_tokens = 4;
  logits_[31] = 50.0f;
  logits_[32] = 1.0f;
  Load(params, 1, {}, {}, {30});
  EXPECT_EQ(Sample().token, 32);  // the stop id is masked, whatever its bias
  EXPECT_EQ(Sample().token, 32);
  EXPECT_EQ(Sample().token, 30);
  Load(params, 1, {}, {32, 32}, {30});  // reloaded after preemption
  EXPECT_EQ(Sample().token, 30);
}

TEST_F(SamplerTest, SameSeedSameTokensWhereverItResumes) {
  for (int i = 0; i < kVocab; ++i) logits_[i] = 0.01f * static_cast<float>(i % 37);
  const SamplingParams params{.temperature = 0.8f};
  std::vector<int32_t> first;
  Load(params, 42);
  for (int i = 0; i < 20; ++i) first.push_back(Sample().token);
  EXPECT_GT(std::set<int32_t>(first.begin(), first.end()).size(), 5u);
  std::vector<int32_t> resumed(first.begin(), first.begin() + 8);
  Load(params, 42, {}, resumed);
  for (int i = 8; i < 20; ++i) resumed.push_back(Sample().token);
  EXPECT_EQ(first, resumed);
  Load(params, 43);
  std::vector<int32_t> other;
  for (int i = 0; i < 20; ++i) other.push_back(Sample().token);
  EXPECT_NE(first, other);
}

TEST_F(SamplerTest, TemperatureFollowsTheDistribution) {
  SetProbabilities({{3, 0.5}, {100, 0.3}, {299, 0.2}});
  auto got = Frequencies({.temperature = 1.0f});
  EXPECT_NEAR(got[3], 0.5, 0.02);
  EXPECT_NEAR(got[100], 0.3, 0.02);
  EXPECT_NEAR(got[299], 0.2, 0.02);
  got = Frequencies({.temperature = 0.5f});  // squares: 25 : 9 : 4
  EXPECT_NEAR(got[3], 25.0 / 38, 0.02);
  EXPECT_NEAR(got[299], 4.0 / 38, 0.02);
  EXPECT_EQ(Frequencies({.temperature = 1e-6f}, 50)[3], Frequencies({.temperature = 0}, 50)[3]);
}

TEST_F(SamplerTest, TopKTopPAndMinPCutAndRenormalise) {
  SetProbabilities({{3, 0.4}, {100, 0.3}, {200, 0.2}, {299, 0.1}});
  auto got = Frequencies({.top_k = 2});
  EXPECT_EQ(got.size(), 2u);
  EXPECT_NEAR(got[3], 4.0 / 7, 0.02);
  EXPECT_EQ(Frequencies({.top_k = 1}, 50).size(), 1u);
  got = Frequencies({.top_p = 0.65f});  // 0.4 + 0.3 reaches it
  EXPECT_EQ(got.size(), 2u);
  EXPECT_NEAR(got[100], 3.0 / 7, 0.02);
  EXPECT_EQ(Frequencies({.top_p = 0.01f}, 200).size(), 1u);
  got = Frequencies({.min_p = 0.45f});  // 0.2 >= 0.45 * 0.4
  EXPECT_EQ(got.size(), 3u);
  EXPECT_NEAR(got[200], 2.0 / 9, 0.02);
  // top_k renormalises before top_p: of {4/7, 3/7} the first is enough for 0.5.
  EXPECT_EQ(Frequencies({.top_k = 2, .top_p = 0.5f}, 500).size(), 1u);
  EXPECT_EQ(Frequencies({.top_k = 4, .top_p = 0.5f}, 500).size(), 2u);
  // min_p renormalises before top_p: 0.9 of {4/9, 3/9, 2/9} needs all three, not the fourth.
  EXPECT_EQ(Frequencies({.top_p = 0.95f, .min_p = 0.45f}, 2000).size(), 3u);
}

TEST_F(SamplerTest, TopPOverAFlatRowKeepsTheLowestIds) {
  std::fill(logits_.begin(), logits_.end(), 0.0f);
  const auto got = Frequencies({.top_p = 0.5f}, 5000);
  EXPECT_GT(got.size(), 140u);
  EXPECT_LE(got.rbegin()->first, 150);
}

TEST_F(SamplerTest, LogprobsAreOfTheRawLogits) {
  SetProbabilities({{3, 0.5}, {100, 0.3}, {299, 0.2}});
  SamplingParams params{.temperature = 0.3f, .num_logprobs = 2};
  params.logit_bias = {{299, 50.0f}};
  Load(params);
  const SampledToken out = Sample();
  EXPECT_EQ(out.token, 299);
  EXPECT_NEAR(out.logprob, std::log(0.2), 1e-5);
  EXPECT_EQ(out.rank, 3);
  ASSERT_EQ(out.top.size(), 2u);
  EXPECT_EQ(out.top[0].token, 3);
  EXPECT_NEAR(out.top[1].logprob, std::log(0.3), 1e-5);
}

TEST_F(SamplerTest, TargetIsScoredAndChangesNothing) {
  SetProbabilities({{3, 0.5}, {100, 0.3}, {299, 0.2}});
  Load({.temperature = 0.0f, .num_prompt_logprobs = 1});
  const SampledToken out = Sample(100);
  EXPECT_EQ(out.token, 100);
  EXPECT_EQ(out.rank, 2);
  EXPECT_NEAR(out.logprob, std::log(0.3), 1e-5);
  ASSERT_EQ(out.top.size(), 1u);
  EXPECT_EQ(out.top[0].token, 3);
  EXPECT_FALSE(sampler_.LastToken(2));
}

TEST_F(SamplerTest, NotANumberIsAnErrorAndTheSlotGoesOn) {
  Load(Greedy());
  logits_[40] = std::nanf("");
  EXPECT_FALSE(sampler_.Sample({.row = 0, .slot = 2}, logits_));
  EXPECT_FALSE(sampler_.Sample({.row = 0, .slot = 2, .target = 3}, logits_));
  logits_[40] = 9.0f;
  EXPECT_EQ(Sample().token, 40);
}

TEST_F(SamplerTest, BadUpdatesAndRowsAreErrors) {
  const auto params = std::make_shared<SamplingParams>();
  EXPECT_FALSE(sampler_.Update({.slot = 4, .params = params}));
  EXPECT_FALSE(sampler_.Update({.slot = -1, .params = params}));
  EXPECT_FALSE(sampler_.Update({.slot = 0}));
  EXPECT_FALSE(sampler_.Update({.slot = 0, .params = params, .stop_ids = {kVocab}}));
  EXPECT_FALSE(sampler_.Update({.slot = 0, .params = params, .output_ids = {-1}}));
  EXPECT_FALSE(sampler_.Sample({.slot = 0}, logits_));
  Load(Greedy());
  EXPECT_FALSE(sampler_.Sample({.slot = 2, .target = kVocab}, logits_));
}

}  // namespace
}  // namespace slipstream
