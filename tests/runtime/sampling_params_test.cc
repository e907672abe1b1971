#include "runtime/sampling_params.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace slipstream {
namespace {

TEST(SamplingParamsTest, DefaultsAndLimitsPass) {
  EXPECT_TRUE(ValidateSamplingParams({}, 100));
  SamplingParams p{.temperature = 100, .top_k = -1, .top_p = 1, .min_p = 1};
  p.presence_penalty = -2;
  p.frequency_penalty = 2;
  p.logit_bias = {{99, -100.0f}, {0, 100.0f}};
  p.stop_token_ids = {0, 99};
  p.max_tokens = 0;
  EXPECT_TRUE(ValidateSamplingParams(p, 100));
}

TEST(SamplingParamsTest, EachFieldIsNamed) {
  using Change = std::function<void(SamplingParams&)>;
  const std::pair<const char*, Change> kBad[] = {
      {"temperature", [](auto& p) { p.temperature = -0.1f; }},
      {"temperature", [](auto& p) { p.temperature = std::nanf(""); }},
      {"top_k", [](auto& p) { p.top_k = -2; }},
      {"top_p", [](auto& p) { p.top_p = 0.0f; }},
      {"top_p", [](auto& p) { p.top_p = std::nanf(""); }},
      {"min_p", [](auto& p) { p.min_p = 1.5f; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 0.0f; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 1e-45f; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = INFINITY; }},
      {"presence_penalty", [](auto& p) { p.presence_penalty = 2.1f; }},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = -2.1f; }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{100, 1.0f}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{1, 101.0f}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias.assign(2000, {1, 1.0f});
       }},
      {"max_tokens", [](auto& p) { p.max_tokens = -1; }},
      {"min_tokens", [](auto& p) { p.min_tokens = 17; }},
      {"stop_token_ids", [](auto& p) { p.stop_token_ids = {-1}; }},
      {"logprobs", [](auto& p) { p.num_logprobs = 21; }},
      {"prompt_logprobs", [](auto& p) { p.num_prompt_logprobs = -2; }},
  };
  for (const auto& [field, change] : kBad) {
    SamplingParams p;
    change(p);
    const Status status = ValidateSamplingParams(p, 100);
    ASSERT_FALSE(status) << field;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(status.error().param, field);
    EXPECT_NE(status.error().message.find(field), std::string::npos);
  }
}

}  // namespace
}  // namespace slipstream
