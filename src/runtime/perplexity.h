// Perplexity of a token sequence the way llama-perplexity computes it: cut into chunks of `context`
// tokens, each run alone from an empty cache, the first token of each replaced by BOS if the
// tokenizer adds one, and only tokens of the second half scored. Runs on an idle Executor, on the
// calling thread. Errors: the executor's, or too little text or memory for one chunk.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/result.h"
#include "runtime/executor.h"

namespace slipstream {

struct PerplexityOptions {
  int context = 512;           // tokens per chunk
  int max_chunks = 0;          // 0: all whole chunks
  std::optional<int32_t> bos;  // set when the tokenizer adds BOS
  std::function<void(int chunk, double perplexity_so_far)> progress;  // may be empty
};

struct PerplexityResult {
  double perplexity = 0;
  double uncertainty = 0;  // standard error of the mean, carried to the perplexity
  int chunks = 0;
  int64_t scored_tokens = 0;
};

Result<PerplexityResult> MeasurePerplexity(std::span<const int32_t> token_ids, Executor& executor,
                                           const PerplexityOptions& options);

}  // namespace slipstream
