#include "engine/engine_core.h"

#include <fmt/core.h>

#include <algorithm>
#include <random>
#include <utility>

#include "base/log.h"
#include "base/rng.h"
#include "engine/engine_limits.h"

namespace slipstream {
namespace {

bool HasConstraint(const Batch& batch) {
  return std::any_of(batch.items.begin(), batch.items.end(), [](const BatchItem& item) {
    return item.sample && item.seq->constraint != nullptr;
  });
}

uint64_t HashSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) ^ device();
}

}  // namespace

EngineCore::EngineCore(const EngineConfig& config, std::unique_ptr<Executor> executor, Clock clock)
    : config_(config),
      executor_(std::move(executor)),
      clock_(clock),
      info_(EffectiveInfo(config, executor_->info())),
      pool_(static_cast<int32_t>(info_.num_blocks)),
      cache_(&pool_, info_.block_size_tokens, HashSeed()),
      scheduler_(LimitsOf(config, info_), &pool_, &cache_),
      builder_(info_.block_size_tokens, info_.vocab_size),
      pacer_(config.max_itl_ms) {
  metrics_.kv_blocks_total.Set(pool_.num_blocks());
}

EngineCore::~EngineCore() = default;

bool EngineCore::ReservePlace() {
  if (num_queued_.fetch_add(1, std::memory_order_relaxed) < config_.max_queued_requests) {
    return true;
  }
  ReturnPlace();
  return false;
}

void EngineCore::Add(Request request, int64_t submit_us) {
  auto group = std::make_unique<SequenceGroup>();
  group->request = std::move(request);
  const SamplingParams& params = *group->request.params;
  group->arrival = next_arrival_++;
  group->submit_us = submit_us;
  group->stop_ids = params.stop_token_ids;
  if (!params.ignore_eos) {
    group->stop_ids.insert(group->stop_ids.end(), info_.eos_token_ids.begin(),
                           info_.eos_token_ids.end());
  }
  if (config_.enable_prefix_caching) group->root_key = cache_.RootKey(group->request.cache_salt);
  const int64_t room = info_.max_model_len - static_cast<int64_t>(group->request.prompt_ids.size());
  const uint64_t seed = params.seed ? static_cast<uint64_t>(*params.seed)
                                    : MixBits(config_.seed ^ MixBits(group->arrival));
  for (int k = 0; k < group->request.num_choices; ++k) {
    auto seq = std::make_unique<Sequence>();
    seq->group = group.get();
    seq->choice = k;
    seq->seed = seed + static_cast<uint64_t>(k);
    seq->max_outputs = static_cast<int32_t>(std::min<int64_t>(params.max_tokens, room));
    seq->scores_prompt = k == 0 && params.num_prompt_logprobs >= 0;
    if (group->request.pooling == Pooling::kMean) seq->pool_from = 0;
    if (group->request.pooling == Pooling::kLast) seq->pool_from = seq->num_prompt() - 1;
    if (const auto& span = group->request.span_budget) {
      seq->num_in_span = span->open_token < 0 ? 0 : Sequence::kSpanNotOpen;
    }
    seq->table = BlockTable(&pool_);
    group->choices.push_back(std::move(seq));
  }
  group->num_live = group->num_unadmitted = group->request.num_choices;
  if (!has_work()) metrics_.last_step_us.store(clock_(), std::memory_order_relaxed);
  metrics_.has_work.store(true, std::memory_order_relaxed);
  metrics_.prompt_tokens_total.Add(group->request.prompt_ids.size());
  scheduler_.Enqueue(group->choices[0].get());
  groups_.push_back(std::move(group));
  if (groups_.back()->request.constraint != nullptr) StartConstraints(groups_.back().get());
}

void EngineCore::Step() {
  CheckCancels();
  CollectForMasks();
  const bool submitted =
      static_cast<int>(in_flight_.size()) < std::max(1, executor_->max_in_flight()) && SubmitStep();
  // Whoever cancelled should not wait for the device.
  if (!touched_.empty()) Deliver();
  const bool full = static_cast<int>(in_flight_.size()) >= std::max(1, executor_->max_in_flight());
  if (!in_flight_.empty() && in_flight_.back().masks_follow) {
    SupplyMasks();
  } else if (!in_flight_.empty() && (full || !submitted)) {
    CollectStep();
  }
  Deliver();
  UpdateMetrics();
}

void EngineCore::CheckIdle() {
  Status status = executor_->CheckIdle();
  if (!executor_->fatal()) return;
  fatal_ = true;
  fatal_error_ =
      status ? Error{ErrorCode::kInternal, "the executor is lost", {}} : std::move(status).error();
}

void EngineCore::CheckCancels() {
  const int64_t now = clock_();
  for (const auto& group : groups_) {
    if (group->num_live == 0) continue;
    const EventSink& sink = *group->request.sink;
    const auto& deadline = group->request.deadline_us;
    if (sink.cancelled() || (deadline && now >= *deadline)) {
      AbortGroup(group.get());
    } else if (const uint64_t choices = sink.cancelled_choices(); choices != 0) [[unlikely]] {
      CancelChoices(group.get(), choices);
    }
  }
}

void EngineCore::CancelChoices(SequenceGroup* group, uint64_t choices) {
  for (const auto& seq : group->choices) {
    if ((choices >> seq->choice & 1) != 0 && seq->status != SequenceStatus::kFinished) {
      Finish(seq.get(), FinishReason::kAbort);
    }
  }
}

bool EngineCore::SubmitStep() {
  InFlight step;
  if (!spare_batches_.empty()) {
    step.batch = std::move(spare_batches_.back());
    spare_batches_.pop_back();
  }
  const int32_t paced = pacer_.on() ? pacer_.PrefillTokens() : INT32_MAX;
  scheduler_.Schedule(&step.batch, paced);
  metrics_.paced_prefill_tokens.Set(scheduler_.counts().prefill_limit);
  for (SequenceGroup* group : scheduler_.counts().first_admitted) LeaveQueue(group);
  scheduler_.counts().first_admitted.clear();
  if (step.batch.items.empty()) {
    spare_batches_.push_back(std::move(step.batch));
    return false;
  }
  ForwardInput input = builder_.Build(step.batch, next_step_++);
  step.num_rows = input.sample_rows.size();
  step.num_pool_runs = input.pool_runs.size();
  step.masks_follow = input.masks_follow;
  step.constrained = HasConstraint(step.batch);
  step.submit_us = clock_();
  if (Status status = executor_->Submit(std::move(input)); !status) {
    ReleaseInFlight(step.batch);
    FailBatch(step.batch, status.error());
    spare_batches_.push_back(std::move(step.batch));
    return false;
  }
  in_flight_.push_back(std::move(step));
  return true;
}

// What a grammar allows next depends on the token before. Executors that cannot take masks late get
// no step until that token is here.
void EngineCore::CollectForMasks() {
  if (executor_->takes_late_masks()) return;
  while (!fatal_ && std::any_of(in_flight_.begin(), in_flight_.end(),
                                [](const InFlight& step) { return step.constrained; })) {
    CollectStep();
  }
}

// The newest step is computing; meanwhile the tokens of those before it tell its masks.
void EngineCore::SupplyMasks() {
  while (!fatal_ && in_flight_.size() > 1) CollectStep();
  if (fatal_) return;
  executor_->SupplyMasks(builder_.LateMasks(in_flight_.back().batch));
  in_flight_.back().masks_follow = false;
}

void EngineCore::CollectStep() {
  Result<StepOutput> output = executor_->Collect();
  InFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  ReleaseInFlight(step.batch);
  if (output && output->tokens.size() != step.num_rows) {
    output = Internal(fmt::format("the step returned {} rows instead of {}", output->tokens.size(),
                                  step.num_rows));
  }
  if (output && output->pooled.size() != step.num_pool_runs) {
    output = Internal(fmt::format("the step returned {} pooled states instead of {}",
                                  output->pooled.size(), step.num_pool_runs));
  }
  if (output) {
    Apply(step.batch, &*output);
  } else {
    FailBatch(step.batch, output.error());
  }
  const int64_t now = clock_();
  // Steps overlap when two are in flight: a step's time is the time since the one before it.
  const int64_t begin = std::max(step.submit_us, last_collect_us_);
  metrics_.step_seconds.Observe(static_cast<double>(now - begin) * 1e-6);
  if (output) PaceBy(step.batch, static_cast<double>(now - begin));
  metrics_.step_tokens.Observe(step.batch.num_tokens);
  metrics_.steps_total.Add();
  metrics_.last_step_us.store(now, std::memory_order_relaxed);
  last_collect_us_ = now;
  spare_batches_.push_back(std::move(step.batch));
}

// Prompts alone keep nobody waiting, so only steps that also decode are paced and learnt from.
void EngineCore::PaceBy(const Batch& batch, double us) {
  int32_t num_prefill_tokens = 0;
  bool decodes = false;
  for (const BatchItem& item : batch.items) {
    if (item.num_tokens == 1) {
      decodes = true;
    } else {
      num_prefill_tokens += item.num_tokens;
    }
  }
  if (decodes) pacer_.Observe(num_prefill_tokens, us);
}

void EngineCore::ReleaseInFlight(const Batch& batch) {
  for (const BatchItem& item : batch.items) {
    --item.seq->num_in_flight;
    --item.seq->group->num_in_flight;
    any_done_ |= item.seq->group->num_live == 0;
  }
}

void EngineCore::LeaveQueue(SequenceGroup* group) {
  if (!group->queued) return;
  group->queued = false;
  ReturnPlace();
  group->scheduled_us = clock_();
  metrics_.queue_seconds.Observe(static_cast<double>(group->scheduled_us - group->submit_us) *
                                 1e-6);
}

void EngineCore::AbortGroup(SequenceGroup* group) {
  if (LogEnabled(LogLevel::kDebug)) LogDebug("request {} is aborted", group->request.id);
  metrics_.aborts_total.Add();
  CancelChoices(group, ~uint64_t{0});
}

void EngineCore::AbortAll() {
  for (const auto& group : groups_) {
    if (group->num_live > 0) AbortGroup(group.get());
  }
  Deliver();
}

void EngineCore::FailAll(const Error& error) {
  for (const InFlight& step : in_flight_) ReleaseInFlight(step.batch);
  in_flight_.clear();
  for (const auto& group : groups_) {
    for (const auto& seq : group->choices) {
      if (seq->status != SequenceStatus::kFinished) {
        Finish(seq.get(), FinishReason::kError, &error);
      }
    }
  }
  Deliver();
  UpdateMetrics();
}

void EngineCore::Deliver() {
  for (SequenceGroup* group : touched_) {
    group->request.sink->OnEvents(group->events);
    group->events.clear();
  }
  touched_.clear();
  if (!any_done_) return;
  any_done_ = false;
  std::erase_if(
      groups_, [](const auto& group) { return group->num_live == 0 && group->num_in_flight == 0; });
}

void EngineCore::UpdateMetrics() {
  size_t gated = 0;
  for (const auto& group : groups_) {
    if (group->num_unadmitted > 1 && !group->prompt_computed) gated += group->num_unadmitted - 1;
  }
  metrics_.running_sequences.Set(static_cast<double>(scheduler_.num_running()));
  metrics_.waiting_sequences.Set(static_cast<double>(scheduler_.num_waiting() + gated));
  metrics_.kv_blocks_used.Set(pool_.num_held());
  metrics_.kv_blocks_reusable.Set(pool_.num_reusable());
  SchedulerCounts& counts = scheduler_.counts();
  metrics_.prefix_query_tokens_total.Add(counts.prefix_query_tokens);
  metrics_.prefix_hit_tokens_total.Add(counts.prefix_hit_tokens);
  metrics_.preemptions_total.Add(counts.preemptions);
  counts.prefix_query_tokens = counts.prefix_hit_tokens = counts.preemptions = 0;
  metrics_.has_work.store(has_work(), std::memory_order_relaxed);
}

}  // namespace slipstream
