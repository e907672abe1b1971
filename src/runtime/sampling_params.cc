#include "runtime/sampling_params.h"

#include <cmath>
#include <cstdio>
#include <string>

namespace slipstream {
namespace {

constexpr int kMaxLogprobs = 20;
constexpr int kMaxBiasedTokens = 1024;
constexpr int kMaxStopTokenIds = 64;

Status CheckRange(double value, double low, double high, const char* field) {
  if (value >= low && value <= high) return {};  // false for NaN
  char text[160];
  std::snprintf(text, sizeof text, "%s must be between %g and %g, not %g", field, low, high, value);
  return InvalidArgument(text, field);
}

Status CheckToken(int64_t id, int64_t vocab_size, const char* field) {
  if (id >= 0 && id < vocab_size) return {};
  return InvalidArgument(std::string(field) + ": token id " + std::to_string(id) +
                             " is outside the vocabulary of " + std::to_string(vocab_size),
                         field);
}

}  // namespace

Status ValidateSamplingParams(const SamplingParams& p, int64_t vocab_size) {
  SLIP_RETURN_IF_ERROR(CheckRange(p.temperature, 0, 100, "temperature"));
  if (p.top_k < -1) return InvalidArgument("top_k must be -1, 0 or positive", "top_k");
  if (!(p.top_p > 0.0f && p.top_p <= 1.0f)) {
    return InvalidArgument("top_p must be over 0 and at most 1", "top_p");
  }
  SLIP_RETURN_IF_ERROR(CheckRange(p.min_p, 0, 1, "min_p"));
  // Beyond these, logits would become infinite.
  SLIP_RETURN_IF_ERROR(CheckRange(p.repetition_penalty, 0.001f, 1000, "repetition_penalty"));
  SLIP_RETURN_IF_ERROR(CheckRange(p.presence_penalty, -2, 2, "presence_penalty"));
  SLIP_RETURN_IF_ERROR(CheckRange(p.frequency_penalty, -2, 2, "frequency_penalty"));
  if (p.logit_bias.size() > kMaxBiasedTokens) {
    return InvalidArgument(
        "logit_bias may name at most " + std::to_string(kMaxBiasedTokens) + " tokens",
        "logit_bias");
  }
  for (const auto& [id, bias] : p.logit_bias) {
    SLIP_RETURN_IF_ERROR(CheckToken(id, vocab_size, "logit_bias"));
    SLIP_RETURN_IF_ERROR(CheckRange(bias, -100, 100, "logit_bias"));
  }
  if (p.max_tokens < 0) return InvalidArgument("max_tokens must not be negative", "max_tokens");
  if (p.min_tokens < 0 || p.min_tokens > p.max_tokens) {
    return InvalidArgument("min_tokens must be between 0 and max_tokens", "min_tokens");
  }
  if (p.stop_token_ids.size() > kMaxStopTokenIds) {
    return InvalidArgument(
        "stop_token_ids may name at most " + std::to_string(kMaxStopTokenIds) + " tokens",
        "stop_token_ids");
  }
  for (const int32_t id : p.stop_token_ids) {
    SLIP_RETURN_IF_ERROR(CheckToken(id, vocab_size, "stop_token_ids"));
  }
  SLIP_RETURN_IF_ERROR(CheckRange(p.num_logprobs, -1, kMaxLogprobs, "logprobs"));
  return CheckRange(p.num_prompt_logprobs, -1, kMaxLogprobs, "prompt_logprobs");
}

}  // namespace slipstream
