#include "runtime/perplexity.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace slipstream {
namespace {

struct Sums {
  double nll = 0, nll_squared = 0;
  int64_t count = 0;

  PerplexityResult Summary(int chunks) const {
    PerplexityResult out{.chunks = chunks, .scored_tokens = count};
    const double mean = nll / static_cast<double>(count);
    out.perplexity = std::exp(mean);
    const double variance = nll_squared / static_cast<double>(count) - mean * mean;
    if (count > 1 && variance > 0) {
      out.uncertainty = out.perplexity * std::sqrt(variance / static_cast<double>(count - 1));
    }
    return out;
  }
};

// Tokens [begin, end) of a chunk as one prefill step in blocks 0, 1, 2, ...
ForwardInput ChunkStep(std::span<const int32_t> chunk, int begin, int end, int block_size) {
  const int context = static_cast<int>(chunk.size());
  const int first_scored = context / 2;
  ForwardInput input;
  input.query_start = {0, end - begin};
  input.kv_len = {end};
  input.max_blocks = (context + block_size - 1) / block_size;
  for (int i = 0; i < input.max_blocks; ++i) input.block_tables.push_back(i);
  for (int i = begin; i < end; ++i) {
    input.token_ids.push_back(chunk[i]);
    input.positions.push_back(i);
    input.slot_ids.push_back(i);
    if (i >= first_scored && i + 1 < context) {
      input.sample_rows.push_back({.row = i - begin, .slot = 0, .target = chunk[i + 1]});
    }
  }
  return input;
}

Status ScoreChunk(std::span<const int32_t> chunk, Executor& executor, Sums& sums) {
  const int context = static_cast<int>(chunk.size());
  const ExecutorInfo& info = executor.info();
  auto params = std::make_shared<SamplingParams>();
  params->num_prompt_logprobs = 0;
  for (int begin = 0; begin < context; begin += info.max_batch_tokens) {
    const int end = std::min(context, begin + info.max_batch_tokens);
    ForwardInput input = ChunkStep(chunk, begin, end, info.block_size_tokens);
    input.slot_updates.push_back({.slot = 0, .params = params});
    SLIP_RETURN_IF_ERROR(executor.Submit(std::move(input)));
    SLIP_ASSIGN_OR_RETURN(const StepOutput output, executor.Collect());
    for (const SampledToken& token : output.tokens) {
      const double nll = -static_cast<double>(token.logprob);
      sums.nll += nll;
      sums.nll_squared += nll * nll;
      sums.count++;
    }
  }
  return {};
}

}  // namespace

Result<PerplexityResult> MeasurePerplexity(std::span<const int32_t> token_ids, Executor& executor,
                                           const PerplexityOptions& options) {
  const int context = options.context;
  const ExecutorInfo& info = executor.info();
  if (context < 4 || context > info.max_model_len ||
      context > info.num_blocks * info.block_size_tokens) {
    return InvalidArgument("perplexity: a context of " + std::to_string(context) +
                           " tokens does not fit the model's " +
                           std::to_string(info.max_model_len) + " or its KV cache");
  }
  int64_t chunks = static_cast<int64_t>(token_ids.size()) / context;
  if (options.max_chunks > 0) chunks = std::min<int64_t>(chunks, options.max_chunks);
  if (chunks == 0) {
    return InvalidArgument("perplexity: " + std::to_string(token_ids.size()) +
                           " tokens are less than one chunk of " + std::to_string(context));
  }
  Sums sums;
  std::vector<int32_t> chunk(context);
  for (int64_t i = 0; i < chunks; ++i) {
    std::copy_n(token_ids.begin() + i * context, context, chunk.begin());
    if (options.bos) chunk[0] = *options.bos;
    SLIP_RETURN_IF_ERROR(ScoreChunk(chunk, executor, sums));
    if (options.progress) options.progress(static_cast<int>(i + 1), sums.Summary(i + 1).perplexity);
  }
  return sums.Summary(static_cast<int>(chunks));
}

}  // namespace slipstream
