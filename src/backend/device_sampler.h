// Sampling that stays on the device: the tokens of a step are chosen behind its logits, the next
// step reads them there, and the host learns them later. Owned by the Backend, used on its thread.
// Load and Sample queue work; Collect waits for the oldest Sample that was not collected. Errors
// are step scope. What the records mean: kernels/api/sampling.h.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "kernels/api/sampling.h"
#include "tensor/tensor.h"

namespace slipstream {

class DeviceSampler {
 public:
  virtual ~DeviceSampler() = default;
  // Loads slots; `ids` is what the offsets of `loads` refer to.
  virtual Status Load(std::span<const kernels::SamplingSlotLoad> loads,
                      std::span<const int32_t> ids) = 0;
  // Samples rows of `logits` [rows, vocab_size] f32, in backend memory, valid until the next Sample
  // or Load at least. `masks`: per task the tokens it may choose, in (vocab_size + 31) / 32 words
  // that are read before the call returns, or null; empty: no task is restricted. `last`: the
  // step's last Sample; one Collect returns the records of all of them.
  virtual Status Sample(TensorView logits, std::span<const kernels::SampleTask> tasks,
                        std::span<const uint32_t* const> masks, bool last) = 0;
  // The records in the order of the tasks; valid until Collect is called again.
  virtual Result<std::span<const kernels::SampledTokenRecord>> Collect() = 0;
};

}  // namespace slipstream
