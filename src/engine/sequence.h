// One generated choice and the group of choices that came with one Request. Created by EngineCore,
// changed by it and the Scheduler on the engine thread only; nothing fails.
//
// Token counts of a sequence, all from its beginning:
//   num_computed <= num_scheduled <= total
//   total = prompt + outputs + num_pending; pending tokens are sampled by steps still in flight.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/block_table.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"

namespace slipstream {

struct SequenceGroup;

enum class SequenceStatus : uint8_t {
  kGated,     // waits until the first choice has computed the shared prompt
  kWaiting,   // has no blocks
  kRunning,   // has blocks and a sampler slot
  kFinished,  // its terminal event is sent; may still be named by a step in flight
};

struct Sequence {
  SequenceGroup* group = nullptr;
  int32_t choice = 0;
  SequenceStatus status = SequenceStatus::kGated;
  uint64_t seed = 0;
  int32_t max_outputs = 0;  // max_tokens cut at the context limit
  bool scores_prompt = false;

  std::vector<int32_t> outputs;
  int32_t num_pending = 0;
  // Of the request's SpanBudget: tokens since the opening mark, or kSpanNotOpen, kSpanDone.
  int32_t num_in_span = kSpanDone;
  // Tokens that steps in flight sampled at places which forced tokens have taken: not used. The
  // KV of tokens from stale_from on that those steps wrote is void.
  int32_t num_stale = 0;
  int32_t stale_from = 0;
  int32_t num_scheduled = 0;
  int32_t num_computed = 0;
  int32_t num_scored = 0;  // prompt tokens whose logprob rows are scheduled
  // First prompt token whose state is still to be pooled; with no pooling there is none.
  int32_t pool_from = kNothingToPool;
  int32_t num_in_flight = 0;  // steps submitted and not collected that include this sequence
  int32_t num_published = 0;  // leading blocks offered to the prefix cache
  bool admitted_once = false;
  // State in which it last found too few blocks: nothing has changed until one of these has.
  size_t refused_running = 0;  // running sequences; with none, nothing is refused
  int32_t refused_available = -1;

  // Of the request's constraint: its state, and what it allows after the last known token; empty
  // while it has not begun.
  std::unique_ptr<TokenConstraintState> constraint;
  std::vector<uint32_t> mask;

  static constexpr int32_t kSpanNotOpen = -1, kSpanDone = -2;
  static constexpr int32_t kNothingToPool = INT32_MAX;

  int32_t num_preemptions = 0;
  int32_t slot = -1;         // sampler slot while running
  bool slot_loaded = false;  // a step has carried the sampler state of this sequence
  BlockTable table;
  std::vector<BlockKey> keys;  // of the leading full blocks of known tokens, extended when needed

  inline int32_t num_prompt() const;
  inline int32_t known() const;  // tokens whose ids the host has
  int32_t total() const { return known() + num_pending; }
  int32_t remaining() const { return total() - num_scheduled; }
  inline int32_t token(int32_t i) const;  // REQUIRES: i < known()
  // Copies tokens [start, start + out.size()). REQUIRES: start + out.size() <= known()
  inline void CopyTokens(int32_t start, std::span<int32_t> out) const;
  // Whether another step would bring it on.
  bool wants_more() const {
    return max_outputs > 0 ? static_cast<int32_t>(outputs.size()) + num_pending < max_outputs
                           : num_scheduled < num_prompt();
  }
  bool scoring_done() const { return !scores_prompt || num_scored >= num_prompt() - 1; }
};

struct SequenceGroup {
  Request request;
  uint64_t arrival = 0;  // order of arrival, unique
  int64_t submit_us = 0;
  int64_t scheduled_us = 0;  // when it left the queue
  std::vector<std::unique_ptr<Sequence>> choices;
  std::vector<int32_t> stop_ids;  // end a sequence: stop ids and, unless ignored, EOS
  BlockKey root_key;
  int32_t num_live = 0;        // choices without a terminal event
  int32_t num_in_flight = 0;   // sum over the choices
  int32_t num_unadmitted = 0;  // live choices that never ran
  bool prompt_computed = false;
  bool queued = true;  // counts against max_queued_requests
  int32_t num_cached_tokens = 0;

  // Full blocks of the computed prompt, held until every choice has taken its reference.
  BlockTable shared_prompt;

  std::vector<SampledToken> prompt_logprobs;
  std::vector<double> pooled;      // states added up so far
  std::vector<TokenEvent> events;  // of this step
};

inline int32_t Sequence::num_prompt() const {
  return static_cast<int32_t>(group->request.prompt_ids.size());
}
inline int32_t Sequence::known() const {
  return num_prompt() + static_cast<int32_t>(outputs.size());
}
inline int32_t Sequence::token(int32_t i) const {
  const int32_t p = num_prompt();
  return i < p ? group->request.prompt_ids[i] : outputs[i - p];
}
inline void Sequence::CopyTokens(int32_t start, std::span<int32_t> out) const {
  const int32_t p = num_prompt();
  const int32_t n = static_cast<int32_t>(out.size());
  const int32_t from_prompt = std::clamp(p - start, 0, n);
  if (from_prompt > 0) {
    std::copy_n(group->request.prompt_ids.data() + start, from_prompt, out.data());
  }
  if (from_prompt < n) {
    std::copy_n(outputs.data() + (start + from_prompt - p), n - from_prompt,
                out.data() + from_prompt);
  }
}

}  // namespace slipstream
