// Chooses the tokens of steps from their logits, on the host or behind the backend's DeviceSampler.
// Owned by a ModelRunner, used on its thread. Errors are step scope.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "runtime/forward_input.h"

namespace slipstream {

class StepSampler {
 public:
  virtual ~StepSampler() = default;
  // Applied before anything of the step is sampled.
  virtual Status Update(std::span<const SamplerSlotUpdate> updates) = 0;
  // Replaces ids of the form -1 - slot, unless the backend does.
  virtual Status Resolve(std::vector<int32_t>& token_ids) const = 0;
  // Samples `rows`, whose logits are logits[logit_index[i]]; `logits` is [rows, vocab_size] f32 in
  // backend memory; `masks` are the step's. `last`: no more rows of this step follow.
  virtual Status Sample(std::span<const SampleRow> rows, std::span<const int32_t> logit_index,
                        std::span<const uint32_t> masks, TensorView logits, bool last) = 0;
  // The tokens of the oldest step not collected, in the order they were passed.
  virtual Result<std::vector<SampledToken>> Collect() = 0;
};

std::unique_ptr<StepSampler> MakeHostStepSampler(Backend& backend, int num_slots,
                                                 int64_t vocab_size);
std::unique_ptr<StepSampler> MakeDeviceStepSampler(DeviceSampler& device, int num_slots,
                                                   int64_t vocab_size);

}  // namespace slipstream
