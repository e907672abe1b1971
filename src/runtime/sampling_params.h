// How tokens of one sequence are chosen. Immutable once a request is queued; shared by engine and
// sampler. Ranges are checked by ValidateSamplingParams, which names the field at fault.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"

namespace slipstream {

struct SamplingParams {
  float temperature = 1.0f;                           // 0: greedy. 0..100
  int top_k = 0;                                      // 0 or -1: off
  float top_p = 1.0f;                                 // (0, 1]
  float min_p = 0.0f;                                 // [0, 1]
  float repetition_penalty = 1.0f;                    // [0.001, 1000]; over prompt and output
  float presence_penalty = 0.0f;                      // [-2, 2]; over output
  float frequency_penalty = 0.0f;                     // [-2, 2]; over output
  std::vector<std::pair<int32_t, float>> logit_bias;  // token id, [-100, 100]
  std::optional<int64_t> seed;                        // whole int64 range
  int max_tokens = 16;  // >= 1 output tokens (0: score the prompt only)
  int min_tokens = 0;   // no stop token before this many
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  int num_logprobs = -1;         // -1: none; k: the sampled token's and the k best
  int num_prompt_logprobs = -1;  // the same for prompt tokens
};

Status ValidateSamplingParams(const SamplingParams& params, int64_t vocab_size);

}  // namespace slipstream
