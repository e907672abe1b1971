#include <utility>

#include "base/token_constraint.h"
#include "runtime/sampler.h"
#include "runtime/step_sampler.h"

namespace slipstream {
namespace {

class HostStepSampler final : public StepSampler {
 public:
  HostStepSampler(Backend& backend, int num_slots, int64_t vocab_size)
      : backend_(backend), sampler_(num_slots, vocab_size), vocab_size_(vocab_size) {}

  Status Update(std::span<const SamplerSlotUpdate> updates) override {
    tokens_.clear();  // of a step that failed half way
    for (const SamplerSlotUpdate& update : updates) {
      SLIP_RETURN_IF_ERROR(sampler_.Update(update));
    }
    return {};
  }

  Status Resolve(std::vector<int32_t>& token_ids) const override {
    for (int32_t& id : token_ids) {
      if (id >= 0) continue;
      SLIP_ASSIGN_OR_RETURN(id, sampler_.LastToken(-1 - id));
    }
    return {};
  }

  Status Sample(std::span<const SampleRow> rows, std::span<const int32_t> logit_index,
                std::span<const uint32_t> masks, TensorView logits, bool) override {
    SLIP_RETURN_IF_ERROR(backend_.Synchronize());
    for (size_t i = 0; i < rows.size(); ++i) {
      float* values = logits.as<float>() + logit_index[i] * vocab_size_;
      SLIP_ASSIGN_OR_RETURN(SampledToken token,
                            sampler_.Sample(rows[i], {values, static_cast<size_t>(vocab_size_)},
                                            MaskOf(rows[i], masks, vocab_size_)));
      tokens_.push_back(std::move(token));
    }
    return {};
  }

  Result<std::vector<SampledToken>> Collect() override {
    return std::exchange(tokens_, std::vector<SampledToken>());
  }

 private:
  Backend& backend_;
  Sampler sampler_;
  int64_t vocab_size_;
  std::vector<SampledToken> tokens_;
};

}  // namespace

std::unique_ptr<StepSampler> MakeHostStepSampler(Backend& backend, int num_slots,
                                                 int64_t vocab_size) {
  return std::make_unique<HostStepSampler>(backend, num_slots, vocab_size);
}

}  // namespace slipstream
