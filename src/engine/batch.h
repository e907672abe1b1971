// What one step computes: which sequences, how many tokens of each, which rows are sampled or
// scored. Filled by the Scheduler, read by BatchBuilder and, when the step's output is back, by
// EngineCore. Engine thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/sequence.h"

namespace slipstream {

struct BatchItem {
  Sequence* seq = nullptr;
  int32_t start = 0;  // first token
  int32_t num_tokens = 0;
  int32_t score_start = 0;  // first prompt position whose successor is scored
  int32_t num_score_rows = 0;
  int32_t pool_start = 0;  // first prompt position whose state is pooled
  int32_t num_pool_rows = 0;
  bool sample = false;     // the last token's logits are sampled
  bool load_slot = false;  // first step since it was admitted: the sampler needs its state

  int32_t end() const { return start + num_tokens; }
};

struct Batch {
  std::vector<BatchItem> items;  // decodes first
  int32_t num_tokens = 0;

  void Clear() {
    items.clear();
    num_tokens = 0;
  }
};

}  // namespace slipstream
