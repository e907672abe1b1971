#include <algorithm>
#include <bit>
#include <deque>
#include <string>
#include <utility>

#include "runtime/sampler.h"
#include "runtime/step_sampler.h"

namespace slipstream {
namespace {

using kernels::SampledTokenRecord;
using kernels::SampleTask;
using kernels::SamplingSlotLoad;

class DeviceStepSampler final : public StepSampler {
 public:
  DeviceStepSampler(DeviceSampler& device, int num_slots, int64_t vocab_size)
      : device_(device), vocab_size_(vocab_size), params_(num_slots) {}

  Status Update(std::span<const SamplerSlotUpdate> updates) override;
  Status Resolve(std::vector<int32_t>& token_ids) const override;
  Status Sample(std::span<const SampleRow> rows, std::span<const int32_t> logit_index,
                std::span<const uint32_t> masks, TensorView logits, bool last) override;
  Result<std::vector<SampledToken>> Collect() override;

 private:
  int num_slots() const { return static_cast<int>(params_.size()); }
  void AppendLoad(const SamplerSlotUpdate& update);

  DeviceSampler& device_;
  int64_t vocab_size_;
  std::vector<std::shared_ptr<const SamplingParams>> params_;  // of each slot
  std::vector<SamplingSlotLoad> loads_;
  std::vector<int32_t> ids_;
  std::vector<SampleTask> tasks_;               // of one Sample
  std::vector<const uint32_t*> task_masks_;     // of its tasks; empty: none has one
  std::vector<SampleTask> step_tasks_;          // of the step so far
  std::deque<std::vector<SampleTask>> issued_;  // of the steps to collect
};

void DeviceStepSampler::AppendLoad(const SamplerSlotUpdate& update) {
  const SamplingParams& p = *update.params;
  const auto append = [&](const std::vector<int32_t>& values, int32_t& begin) {
    begin = static_cast<int32_t>(ids_.size());
    ids_.insert(ids_.end(), values.begin(), values.end());
    return static_cast<int32_t>(values.size());
  };
  SamplingSlotLoad load;
  load.index = update.slot;
  load.last_token = update.output_ids.empty() ? -1 : update.output_ids.back();
  load.slot = {.seed = update.seed,
               .temperature = p.temperature,
               .top_k = p.top_k,
               .top_p = p.top_p,
               .min_p = p.min_p,
               .repetition_penalty = p.repetition_penalty,
               .presence_penalty = p.presence_penalty,
               .frequency_penalty = p.frequency_penalty,
               .num_output = static_cast<int32_t>(update.output_ids.size()),
               .min_tokens = p.min_tokens,
               .num_stops = 0,
               .num_bias = static_cast<int32_t>(p.logit_bias.size()),
               .has_penalties = HasPenalties(p) ? 1 : 0};
  load.slot.num_stops = append(update.stop_ids, load.stops_begin);
  if (HasPenalties(p)) {
    load.prompt_count = append(update.prompt_ids, load.prompt_begin);
    load.output_count = append(update.output_ids, load.output_begin);
  }
  load.bias_begin = static_cast<int32_t>(ids_.size());
  for (const auto& [token, bias] : p.logit_bias) {
    ids_.push_back(token);
    ids_.push_back(std::bit_cast<int32_t>(bias));
  }
  loads_.push_back(load);
}

Status DeviceStepSampler::Update(std::span<const SamplerSlotUpdate> updates) {
  step_tasks_.clear();  // of a step that failed half way
  if (updates.empty()) return {};
  loads_.clear();
  ids_.clear();
  for (const SamplerSlotUpdate& update : updates) {
    SLIP_RETURN_IF_ERROR(CheckSlotUpdate(update, num_slots(), vocab_size_));
    if (update.stop_ids.size() > kernels::kMaxMinTokenStops ||
        update.params->logit_bias.size() > kernels::kMaxLogitBias) {
      return Internal("update of sampler slot " + std::to_string(update.slot) +
                      " has more stop ids or biases than a slot holds");
    }
    params_[update.slot] = update.params;
    AppendLoad(update);
  }
  return device_.Load(loads_, ids_);
}

// The device resolves them; here only what it must not be asked.
Status DeviceStepSampler::Resolve(std::vector<int32_t>& token_ids) const {
  for (const int32_t id : token_ids) {
    if (id < 0 && -1 - id >= num_slots()) {
      return Internal("a token id refers to sampler slot " + std::to_string(-1 - id) + " of " +
                      std::to_string(num_slots()));
    }
  }
  return {};
}

Status DeviceStepSampler::Sample(std::span<const SampleRow> rows,
                                 std::span<const int32_t> logit_index,
                                 std::span<const uint32_t> masks, TensorView logits, bool last) {
  tasks_.clear();
  task_masks_.clear();
  bool any_mask = false;
  for (size_t i = 0; i < rows.size(); ++i) {
    const SampleRow& row = rows[i];
    if (row.slot < 0 || row.slot >= num_slots() || !params_[row.slot] ||
        row.target >= vocab_size_) {
      return Internal("sample row names slot " + std::to_string(row.slot) + " and target " +
                      std::to_string(row.target));
    }
    const SamplingParams& p = *params_[row.slot];
    const int num_top = row.target >= 0 ? std::max(0, p.num_prompt_logprobs) : p.num_logprobs;
    tasks_.push_back({.logits_row = logit_index[i],
                      .slot = row.slot,
                      .target = row.target,
                      .num_top = std::min(num_top, kernels::kMaxTopLogprobs)});
    const std::span<const uint32_t> mask = MaskOf(row, masks, vocab_size_);
    task_masks_.push_back(mask.empty() ? nullptr : mask.data());
    any_mask |= !mask.empty();
  }
  step_tasks_.insert(step_tasks_.end(), tasks_.begin(), tasks_.end());
  if (!any_mask) task_masks_.clear();
  SLIP_RETURN_IF_ERROR(device_.Sample(logits, tasks_, task_masks_, last));
  if (last) issued_.push_back(std::exchange(step_tasks_, std::vector<SampleTask>()));
  return {};
}

Result<std::vector<SampledToken>> DeviceStepSampler::Collect() {
  if (issued_.empty()) return Internal("no sampled step to collect");
  const std::vector<SampleTask> tasks = std::move(issued_.front());
  issued_.pop_front();
  SLIP_ASSIGN_OR_RETURN(const std::span<const SampledTokenRecord> records, device_.Collect());
  if (records.size() != tasks.size()) {
    return Internal("the device sampled " + std::to_string(records.size()) + " rows instead of " +
                    std::to_string(tasks.size()));
  }
  std::vector<SampledToken> out;
  out.reserve(tasks.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    const SampledTokenRecord& record = records[i];
    if (record.status != kernels::SampleStatus::kOk) {
      return Internal("logits of sampler slot " + std::to_string(tasks[i].slot) +
                      " are not finite numbers");
    }
    SampledToken& token = out.emplace_back();
    token.slot = tasks[i].slot;
    token.token = record.token;
    if (tasks[i].num_top < 0) continue;
    token.logprob = record.logprob;
    token.rank = record.rank;
    const int num_top = static_cast<int>(std::min<int64_t>(tasks[i].num_top, vocab_size_));
    for (int k = 0; k < num_top; ++k) {
      token.top.push_back({record.top_token[k], record.top_logprob[k]});
    }
  }
  return out;
}

}  // namespace

std::unique_ptr<StepSampler> MakeDeviceStepSampler(DeviceSampler& device, int num_slots,
                                                   int64_t vocab_size) {
  return std::make_unique<DeviceStepSampler>(device, num_slots, vocab_size);
}

}  // namespace slipstream
