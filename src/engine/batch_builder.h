// Flattens a Batch into the arrays an Executor runs. Stateless but for its block size; engine
// thread only; nothing fails. A token that is still on the device is named -1 - slot.
#pragma once

#include <cstdint>

#include "engine/batch.h"
#include "runtime/forward_input.h"

namespace slipstream {

class BatchBuilder {
 public:
  explicit BatchBuilder(int block_size, int64_t vocab_size = 0)
      : block_size_(block_size), mask_words_(static_cast<size_t>(TokenMaskWords(vocab_size))) {}

  // REQUIRES: called right after Scheduler::Schedule filled `batch`.
  // The masks of sequences whose last token is still on its way cannot be told yet: if there is
  // one, all masks of the step follow later (ForwardInput::masks_follow).
  ForwardInput Build(const Batch& batch, uint64_t step) const;
  // Those masks, once every step before this one is collected.
  std::vector<uint32_t> LateMasks(const Batch& batch) const;

 private:
  void AppendTokens(const BatchItem& item, ForwardInput* input) const;
  void AppendMask(const BatchItem& item, SampleRow* row, ForwardInput* input) const;
  void AppendRows(const BatchItem& item, int32_t first_row, ForwardInput* input) const;

  const int block_size_;
  const size_t mask_words_;
};

}  // namespace slipstream
