// Chooses tokens from logits: per-slot state (parameters, seed, counts for penalties) and the
// pipeline penalties -> bias -> min_tokens mask -> allowed mask -> temperature -> min_p -> top_k ->
// top_p -> draw. Owned by a ModelRunner, used on its thread. A row with NaN or infinite logits is a
// step error.
//
// The n-th output token of a slot uses UniformAt(seed, n), so a sequence's tokens do not depend on
// what shares its batch. Penalties follow the definitions of vLLM and the OpenAI API.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "runtime/forward_input.h"
#include "runtime/logit_scan.h"

namespace slipstream {

// What makes a slot update, perhaps from another machine, unsafe to apply.
Status CheckSlotUpdate(const SamplerSlotUpdate& update, int num_slots, int64_t vocab_size);
bool HasPenalties(const SamplingParams& params);
// The mask of `row` among those of its step; empty without one.
std::span<const uint32_t> MaskOf(const SampleRow& row, std::span<const uint32_t> masks,
                                 int64_t vocab_size);

class Sampler {
 public:
  Sampler(int num_slots, int64_t vocab_size) : slots_(num_slots), vocab_size_(vocab_size) {}

  Status Update(const SamplerSlotUpdate& update);
  // The token last sampled for `slot`; an error when there is none.
  Result<int32_t> LastToken(int32_t slot) const;
  // Samples, or scores row.target. `logits` is [vocab_size]; it is written to, and restored.
  // `allowed`: the tokens to choose from, as a mask; empty: all.
  Result<SampledToken> Sample(const SampleRow& row, std::span<float> logits,
                              std::span<const uint32_t> allowed = {});

 private:
  struct TokenUse {
    int32_t token = 0;
    int32_t output_count = 0;
  };
  struct Slot {
    std::shared_ptr<const SamplingParams> params;
    uint64_t seed = 0;
    uint64_t num_output = 0;
    int32_t last_token = -1;
    std::vector<int32_t> stop_ids;
    std::vector<TokenUse> uses;  // every distinct prompt and output token; empty without penalties
    std::unordered_map<int32_t, size_t> use_index;
  };
  struct SavedLogit {
    int32_t token;
    float value;
  };

  static void CountToken(Slot& slot, int32_t token, bool is_output);
  void Override(std::span<float> logits, int32_t token, float value);
  void ApplyOverrides(const Slot& slot, std::span<float> logits);
  void Restore(std::span<float> logits);
  // Leaves only allowed tokens; the result lives until the next call.
  std::span<const float> Masked(std::span<const float> logits, std::span<const uint32_t> allowed);
  Result<int32_t> Choose(const Slot& slot);
  int32_t Draw(const SamplingParams& params, float uniform);
  int32_t DrawFromLargest(const SamplingParams& params, float floor, float uniform);
  Status Report(std::span<const float> logits, int num_top, SampledToken& out);

  std::vector<Slot> slots_;
  int64_t vocab_size_;
  LogitScan scan_;
  std::vector<SavedLogit> saved_;
  std::vector<float> weights_;
  std::vector<float> masked_;  // a row in which only allowed tokens are left
};

}  // namespace slipstream
