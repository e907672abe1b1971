// Flattens a Batch into the arrays an Executor runs. Stateless but for its block size; engine
// thread only; nothing fails. A token that is still on the device is named -1 - slot.
#pragma once

#include <cstdint>

#include "engine/batch.h"
#include "runtime/forward_input.h"

namespace slipstream {

class BatchBuilder {
 public:
  explicit BatchBuilder(int block_size) : block_size_(block_size) {}

  // REQUIRES: called right after Scheduler::Schedule filled `batch`.
  ForwardInput Build(const Batch& batch, uint64_t step) const;

 private:
  void AppendTokens(const BatchItem& item, ForwardInput* input) const;
  void AppendRows(const BatchItem& item, int32_t first_row, ForwardInput* input) const;

  const int block_size_;
};

}  // namespace slipstream
