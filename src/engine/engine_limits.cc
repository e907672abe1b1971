#include "engine/engine_limits.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

namespace slipstream {
namespace {

// Logits of scored prompt rows, float32, that one step may materialise.
constexpr int64_t kScoreLogitsBytes = int64_t{32} << 20;

int MaxScoreRows(int64_t vocab_size) {
  const int64_t rows = kScoreLogitsBytes / (std::max<int64_t>(vocab_size, 1) * 4);
  return static_cast<int>(std::clamp<int64_t>(rows, 16, 512));
}

// The smaller of two limits; 0 or less means no limit.
int64_t Narrow(int64_t a, int64_t b) {
  if (a <= 0 || b <= 0) return std::max(a, b);
  return std::min(a, b);
}

}  // namespace

ExecutorInfo EffectiveInfo(const EngineConfig& config, const ExecutorInfo& executor) {
  constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
  ExecutorInfo info = executor;
  info.num_blocks = std::min(info.num_blocks, kMaxInt);
  info.max_batch_tokens = static_cast<int>(
      std::max<int64_t>(1, Narrow(info.max_batch_tokens, config.max_batch_tokens)));
  // Every running sequence may decode in one step.
  info.max_num_seqs = static_cast<int>(std::clamp<int64_t>(
      Narrow(info.max_num_seqs, config.max_num_seqs), 1, info.max_batch_tokens));
  info.max_model_len = std::min({Narrow(info.max_model_len, config.max_model_len),
                                 info.num_blocks * info.block_size_tokens, kMaxInt / 2});
  // Some checkpoints name stop tokens beyond their vocabulary; they can never be sampled.
  std::erase_if(info.eos_token_ids, [&](int32_t id) { return id < 0 || id >= info.vocab_size; });
  return info;
}

SchedulerLimits LimitsOf(const EngineConfig& config, const ExecutorInfo& effective) {
  SchedulerLimits limits;
  limits.block_size = effective.block_size_tokens;
  limits.max_num_seqs = effective.max_num_seqs;
  limits.max_batch_tokens = effective.max_batch_tokens;
  limits.mixed_prefill_tokens = config.mixed_prefill_tokens;
  limits.token_tile = effective.token_tile;
  limits.max_score_rows = MaxScoreRows(effective.vocab_size);
  limits.chunked_prefill = config.enable_chunked_prefill;
  limits.prefix_caching = config.enable_prefix_caching;
  return limits;
}

Status ValidateRequest(const Request& request, const ExecutorInfo& effective) {
  if (request.sink == nullptr || request.params == nullptr) {
    return InvalidArgument("the request has no event sink or no sampling parameters");
  }
  if (request.prompt_ids.empty()) return InvalidArgument("the prompt is empty", "prompt");
  if (request.num_choices < 1 || request.num_choices > 64) {
    return InvalidArgument(fmt::format("n must be 1 to 64, not {}", request.num_choices), "n");
  }
  if (request.pooling != Pooling::kNone) {
    if (effective.hidden_size <= 0) {
      return Fail(ErrorCode::kUnimplemented, "this model's states cannot be pooled");
    }
    if (request.num_choices != 1 || request.params->max_tokens != 0) {
      return InvalidArgument("a request with pooling generates nothing");
    }
  }
  if (request.params->max_tokens < 0) {
    return InvalidArgument("max_tokens must not be negative", "max_tokens");
  }
  const int64_t num_prompt = static_cast<int64_t>(request.prompt_ids.size());
  if (num_prompt + std::min(request.params->max_tokens, 1) > effective.max_model_len) {
    return InvalidArgument(
        fmt::format("This model's maximum context length is {} tokens. However, your prompt has "
                    "{} tokens.",
                    effective.max_model_len, num_prompt),
        "prompt");
  }
  if (const auto& span = request.span_budget) {
    const auto outside = [&](int32_t id) { return id < 0 || id >= effective.vocab_size; };
    if (span->forced.empty() || span->max_tokens < (span->open_token < 0 ? 1 : 0) ||
        std::any_of(span->forced.begin(), span->forced.end(), outside)) {
      return InvalidArgument("the span budget has no tokens to force, or none to wait for");
    }
  }
  for (const int32_t token : request.prompt_ids) {
    if (token < 0 || token >= effective.vocab_size) {
      return InvalidArgument(fmt::format("token id {} is outside the vocabulary of {} tokens",
                                         token, effective.vocab_size),
                             "prompt");
    }
  }
  return {};
}

}  // namespace slipstream
