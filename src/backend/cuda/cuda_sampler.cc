#include "backend/cuda/cuda_sampler.h"

#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/sampling/sampling.h"

namespace slipstream {
namespace {

using kernels::KernelStatus;
using kernels::SampledTokenRecord;
using kernels::SampleTask;
using kernels::SamplingSlotLoad;

// Ids of one slot load: prompt and output for penalties, stops, biases as pairs.
size_t MaxLoadIds(const CudaSampler::Limits& limits) {
  return 2 * static_cast<size_t>(limits.max_positions) + kernels::kMaxMinTokenStops +
         2 * kernels::kMaxLogitBias;
}

// Of one mask over the vocabulary.
size_t MaskWords(const CudaSampler::Limits& limits) {
  return static_cast<size_t>((limits.vocab_size + 31) / 32);
}

Result<std::unique_ptr<DeviceBuffer>> Zeroed(size_t elems, size_t elem_bytes) {
  return DeviceBuffer::Make(elems * elem_bytes);
}

}  // namespace

Status CudaSampler::AllocateState() {
  const size_t slots = static_cast<size_t>(limits_.num_slots);
  const size_t vocab = static_cast<size_t>(limits_.vocab_size);
  SLIP_ASSIGN_OR_RETURN(slots_, Zeroed(slots, sizeof(kernels::SamplingSlot)));
  SLIP_ASSIGN_OR_RETURN(last_token_, DeviceBuffer::Make(slots * sizeof(int32_t), 0xFF));
  SLIP_ASSIGN_OR_RETURN(counts_, Zeroed(slots * vocab, sizeof(uint16_t)));
  SLIP_ASSIGN_OR_RETURN(bias_, Zeroed(slots * kernels::kMaxLogitBias, sizeof(kernels::LogitBias)));
  SLIP_ASSIGN_OR_RETURN(stops_, Zeroed(slots * kernels::kMaxMinTokenStops, sizeof(int32_t)));
  state_ = {.slots = slots_->as<kernels::SamplingSlot>(),
            .last_token = last_token_->as<int32_t>(),
            .token_counts = counts_->as<uint16_t>(),
            .bias = bias_->as<kernels::LogitBias>(),
            .stops = stops_->as<int32_t>(),
            .num_slots = limits_.num_slots,
            .vocab_size = static_cast<int>(limits_.vocab_size)};
  return {};
}

Status CudaSampler::AllocateTurns() {
  const size_t tasks = static_cast<size_t>(limits_.max_tasks_per_step);
  const size_t load_bytes = sizeof(SamplingSlotLoad) + MaxLoadIds(limits_) * sizeof(int32_t);
  SLIP_ASSIGN_OR_RETURN(tasks_, Zeroed(tasks, sizeof(SampleTask)));
  SLIP_ASSIGN_OR_RETURN(records_, Zeroed(tasks, sizeof(SampledTokenRecord)));
  SLIP_ASSIGN_OR_RETURN(scratch_, DeviceBuffer::Make(kernels::SampleScratchBytes(
                                      limits_.max_tasks_per_sample, state_.vocab_size)));
  SLIP_ASSIGN_OR_RETURN(loads_, DeviceBuffer::Make(load_bytes));
  const size_t mask_bytes =
      static_cast<size_t>(limits_.num_slots) * MaskWords(limits_) * sizeof(uint32_t);
  SLIP_ASSIGN_OR_RETURN(masks_, DeviceBuffer::Make(mask_bytes));
  SLIP_ASSIGN_OR_RETURN(mask_rows_, DeviceBuffer::Make(tasks * sizeof(int32_t)));
  for (Turn& turn : turns_) {
    SLIP_ASSIGN_OR_RETURN(turn.tasks, PinnedBuffer::Make(tasks * sizeof(SampleTask)));
    SLIP_ASSIGN_OR_RETURN(turn.records, PinnedBuffer::Make(tasks * sizeof(SampledTokenRecord)));
    SLIP_ASSIGN_OR_RETURN(turn.masks, PinnedBuffer::Make(mask_bytes));
    SLIP_ASSIGN_OR_RETURN(turn.mask_rows, PinnedBuffer::Make(tasks * sizeof(int32_t)));
  }
  for (LoadTurn& turn : load_turns_) {
    SLIP_ASSIGN_OR_RETURN(turn.staging, PinnedBuffer::Make(load_bytes));
  }
  return {};
}

Result<std::unique_ptr<CudaSampler>> CudaSampler::Make(const Limits& limits, cudaStream_t stream,
                                                       bool dependent_launch) {
  std::unique_ptr<CudaSampler> out(new CudaSampler(limits, stream, dependent_launch));
  SLIP_RETURN_IF_ERROR(out->AllocateState());
  SLIP_RETURN_IF_ERROR(out->AllocateTurns());
  return out;
}

// One load at a time: they come when a request starts, not in every step.
Status CudaSampler::LoadOne(const SamplingSlotLoad& load, std::span<const int32_t> ids) {
  LoadTurn& turn = load_turns_[load_turn_];
  load_turn_ ^= 1;
  SLIP_RETURN_IF_ERROR(CudaOk(cudaEventSynchronize(turn.copied.get()), "loading a sampler slot"));
  SamplingSlotLoad own = load;
  int32_t* out = turn.staging.as<int32_t>(sizeof(SamplingSlotLoad));
  int32_t used = 0;
  const auto take = [&](int32_t& begin, int32_t count) {
    std::memcpy(out + used, ids.data() + begin, static_cast<size_t>(count) * sizeof(int32_t));
    begin = used;
    used += count;
  };
  take(own.prompt_begin, own.prompt_count);
  take(own.output_begin, own.output_count);
  take(own.stops_begin, own.slot.num_stops);
  take(own.bias_begin, 2 * own.slot.num_bias);
  std::memcpy(turn.staging.as<std::byte>(), &own, sizeof own);
  const size_t bytes = sizeof own + static_cast<size_t>(used) * sizeof(int32_t);
  SLIP_CHECK(bytes <= turn.staging.bytes(), "a slot load longer than a sequence can be");
  SLIP_RETURN_IF_ERROR(CudaOk(cudaMemcpyAsync(loads_->data(), turn.staging.as<std::byte>(), bytes,
                                              cudaMemcpyHostToDevice, stream_),
                              "loading a sampler slot"));
  SLIP_RETURN_IF_ERROR(
      CudaOk(cudaEventRecord(turn.copied.get(), stream_), "loading a sampler slot"));
  if (kernels::LoadSamplingSlots(loads_->as<SamplingSlotLoad>(),
                                 loads_->as<int32_t>(sizeof(SamplingSlotLoad)), 1, state_,
                                 stream_) != KernelStatus::kOk) {
    return Internal("a sampler slot could not be loaded");
  }
  return {};
}

Status CudaSampler::Load(std::span<const SamplingSlotLoad> loads, std::span<const int32_t> ids) {
  for (const SamplingSlotLoad& load : loads) SLIP_RETURN_IF_ERROR(LoadOne(load, ids));
  return {};
}

// The turn's staging is free: its step before last was collected. One sequence samples once a step,
// so there are at most as many masks as slots.
Status CudaSampler::UploadMasks(Turn* turn, size_t first, std::span<const uint32_t* const> masks) {
  const size_t words = MaskWords(limits_);
  const size_t first_mask = static_cast<size_t>(turn->num_masks);
  uint32_t* staged = turn->masks.as<uint32_t>();
  int32_t* rows = turn->mask_rows.as<int32_t>() + first;
  for (size_t i = 0; i < masks.size(); ++i) {
    rows[i] = -1;
    if (masks[i] == nullptr) continue;
    if (turn->num_masks >= limits_.num_slots) return Internal("more token masks than sequences");
    std::memcpy(staged + static_cast<size_t>(turn->num_masks) * words, masks[i],
                words * sizeof(uint32_t));
    rows[i] = turn->num_masks++;
  }
  const size_t count = static_cast<size_t>(turn->num_masks) - first_mask;
  if (count > 0) {
    SLIP_RETURN_IF_ERROR(CudaOk(
        cudaMemcpyAsync(masks_->as<uint32_t>() + first_mask * words, staged + first_mask * words,
                        count * words * sizeof(uint32_t), cudaMemcpyHostToDevice, stream_),
        "copying token masks"));
  }
  return CudaOk(cudaMemcpyAsync(mask_rows_->as<int32_t>() + first, rows,
                                masks.size() * sizeof(int32_t), cudaMemcpyHostToDevice, stream_),
                "copying token masks");
}

Status CudaSampler::Sample(TensorView logits, std::span<const SampleTask> tasks,
                           std::span<const uint32_t* const> masks, bool last) {
  Turn& turn = turns_[turn_];
  if (!std::exchange(step_open_, true)) turn.num_tasks = turn.num_masks = 0;
  const size_t first = static_cast<size_t>(turn.num_tasks);
  if (first + tasks.size() > static_cast<size_t>(limits_.max_tasks_per_step)) {
    step_open_ = false;
    return Internal("more rows to sample than the step has tokens");
  }
  if (!masks.empty()) {
    Status uploaded = masks.size() == tasks.size()
                          ? UploadMasks(&turn, first, masks)
                          : Internal("as many token masks as rows to sample are needed");
    if (!uploaded) {
      step_open_ = false;
      return uploaded;
    }
  }
  SampleTask* staged = turn.tasks.as<SampleTask>() + first;
  std::memcpy(staged, tasks.data(), tasks.size_bytes());
  SLIP_RETURN_IF_ERROR(CudaOk(cudaMemcpyAsync(tasks_->as<SampleTask>() + first, staged,
                                              tasks.size_bytes(), cudaMemcpyHostToDevice, stream_),
                              "copying what to sample"));
  // Sequences may appear in one launch once, and scratch is for so many rows.
  const size_t most = static_cast<size_t>(limits_.max_tasks_per_sample);
  for (size_t begin = 0; begin < tasks.size(); begin += most) {
    const size_t count = std::min(most, tasks.size() - begin);
    const kernels::SampleTokensParams params{
        .logits = logits.as<float>(),
        .logits_stride = limits_.vocab_size,
        .state = state_,
        .tasks = tasks_->as<SampleTask>() + first + begin,
        .num_tasks = static_cast<int>(count),
        .allowed = masks.empty() ? nullptr : masks_->as<uint32_t>(),
        .allowed_rows = masks.empty() ? nullptr : mask_rows_->as<int32_t>() + first + begin,
        .allowed_stride = static_cast<int64_t>(MaskWords(limits_)),
        .out = records_->as<SampledTokenRecord>() + first + begin,
        .scratch = scratch_->data()};
    if (kernels::SampleTokens(params, dependent_launch_, stream_) != KernelStatus::kOk) {
      step_open_ = false;
      return Internal("sampling could not be launched");
    }
  }
  turn.num_tasks += static_cast<int>(tasks.size());
  if (!last) return {};
  SLIP_RETURN_IF_ERROR(
      CudaOk(cudaMemcpyAsync(turn.records.as<std::byte>(), records_->data(),
                             static_cast<size_t>(turn.num_tasks) * sizeof(SampledTokenRecord),
                             cudaMemcpyDeviceToHost, stream_),
             "copying sampled tokens"));
  SLIP_RETURN_IF_ERROR(CudaOk(cudaEventRecord(turn.done.get(), stream_), "sampling"));
  issued_.push_back(turn_);
  turn_ ^= 1;
  step_open_ = false;
  return {};
}

Result<std::span<const SampledTokenRecord>> CudaSampler::Collect() {
  if (issued_.empty()) return Internal("no sampled step to collect");
  Turn& turn = turns_[issued_.front()];
  issued_.pop_front();
  SLIP_RETURN_IF_ERROR(CudaOk(cudaEventSynchronize(turn.done.get()), "a step on the GPU"));
  return std::span<const SampledTokenRecord>(turn.records.as<SampledTokenRecord>(),
                                             static_cast<size_t>(turn.num_tasks));
}

}  // namespace slipstream
