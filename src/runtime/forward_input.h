// One step as flat arrays: built by the engine, run by an Executor, serialisable for remote ranks.
// Prefill chunks, decodes and draft verification are the same thing with other query lengths.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/sampling_params.h"

namespace slipstream {

// Loads (or reloads, after preemption) the sampler state of a slot. A slot is a small integer that
// belongs to one running sequence; the sampler counts the tokens it samples itself.
struct SamplerSlotUpdate {
  int32_t slot = 0;
  std::shared_ptr<const SamplingParams> params;
  uint64_t seed = 0;                // resolved; the n-th output token uses UniformAt(seed, n)
  std::vector<int32_t> prompt_ids;  // for penalties; empty when none is set
  std::vector<int32_t> output_ids;  // tokens generated so far
  std::vector<int32_t> stop_ids;    // masked until min_tokens (stop ids and, unless ignored, EOS)
};

struct SampleRow {
  int32_t row = 0;      // index into token_ids whose logits are used
  int32_t slot = 0;     // sampler state
  int32_t target = -1;  // >= 0: report this token's logprob instead of sampling (prompt scoring)
  int32_t mask = -1;    // >= 0: only what this mask of the step allows is sampled
};

// Tokens of one sequence whose final hidden states are added up.
struct PoolRun {
  int32_t row = 0;  // index into token_ids of the first
  int32_t count = 0;
};

struct ForwardInput {
  uint64_t step = 0;
  // A negative id -1 - slot means: the token last sampled for that slot (still on the device).
  std::vector<int32_t> token_ids;     // [num_tokens]
  std::vector<int32_t> positions;     // [num_tokens]
  std::vector<int64_t> slot_ids;      // [num_tokens], KV slot: block * block_size + offset
  std::vector<int32_t> query_start;   // [num_seqs + 1]
  std::vector<int32_t> kv_len;        // [num_seqs], including this step's tokens
  std::vector<int32_t> block_tables;  // [num_seqs, max_blocks]
  int32_t max_blocks = 0;
  std::vector<SamplerSlotUpdate> slot_updates;  // applied before anything is sampled
  std::vector<SampleRow> sample_rows;
  std::vector<PoolRun> pool_runs;
  // Tokens that grammars allow: bit t % 32 of word t / 32 of a mask, base/token_constraint.h.
  std::vector<uint32_t> token_masks;  // [num_masks, TokenMaskWords(vocab_size)]
  int32_t num_masks = 0;
  bool masks_follow = false;  // token_masks is empty, Executor::SupplyMasks brings it

  int num_tokens() const { return static_cast<int>(token_ids.size()); }
  int num_seqs() const { return static_cast<int>(kv_len.size()); }
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

struct SampledToken {
  int32_t slot = 0;
  int32_t token = 0;              // the sampled token, or the row's target
  float logprob = 0;              // of `token`, after temperature 1, no penalties; 0 if unasked
  int32_t rank = 0;               // 1: most likely; 0 if unasked
  std::vector<TokenLogprob> top;  // best first; empty if unasked
};

// In double: float32 states nearly always add up exactly, so that the way a prompt was cut into
// steps does not show in the sum.
struct PooledStates {
  std::vector<double> sum;  // [hidden_size]
};

struct StepOutput {
  uint64_t step = 0;
  std::vector<SampledToken> tokens;  // one per sample_row, in order
  std::vector<PooledStates> pooled;  // one per pool_run, in order
};

}  // namespace slipstream
