// EngineCore's part that takes what steps bring: tokens, events, and the ends of sequences.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "engine/engine_core.h"
#include "engine/pooling.h"

namespace slipstream {

void EngineCore::Apply(const Batch& batch, StepOutput* output) {
  size_t row = 0, run = 0;
  for (const BatchItem& item : batch.items) {
    Sequence* seq = item.seq;
    const size_t first = row;
    row += item.num_score_rows + (item.sample ? 1 : 0);
    const PooledStates* pooled = item.num_pool_rows > 0 ? &output->pooled[run++] : nullptr;
    if (seq->status == SequenceStatus::kFinished) continue;
    // A sequence preempted while the step ran keeps the step's tokens, not its blocks.
    if (seq->status == SequenceStatus::kRunning) {
      scheduler_.OnComputed(
          seq, seq->num_stale > 0 ? std::min(item.end(), seq->stale_from) : item.end());
    }
    for (int32_t i = 0; i < item.num_score_rows; ++i) {
      seq->group->prompt_logprobs.push_back(std::move(output->tokens[first + i]));
    }
    if (pooled != nullptr) AddPooled(pooled->sum, seq->group);
    if (item.sample && seq->num_stale > 0) {
      --seq->num_stale;
    } else if (item.sample) {
      Append(seq, std::move(output->tokens[row - 1]));
    } else if (seq->max_outputs == 0 && item.end() == seq->num_prompt()) {
      // A constraint may be over at once; an embedding always ends as it should.
      const Request& request = seq->group->request;
      const bool over = request.params->max_tokens > 0 || request.pooling != Pooling::kNone;
      Finish(seq, over ? FinishReason::kStop : FinishReason::kLength);
    }
  }
  FillMasks();
}

void EngineCore::FailBatch(const Batch& batch, const Error& error) {
  metrics_.step_errors_total.Add();
  LogWarning("a step of {} sequences failed: {}", batch.items.size(), error.message);
  for (const BatchItem& item : batch.items) {
    if (item.seq->status != SequenceStatus::kFinished) {
      Finish(item.seq, FinishReason::kError, &error);
    }
  }
  if (executor_->fatal()) {
    fatal_ = true;
    fatal_error_ = error;
  }
}

void EngineCore::Append(Sequence* seq, SampledToken token) {
  --seq->num_pending;
  const SequenceGroup& group = *seq->group;
  const int32_t id = token.token;
  const int32_t num_before = static_cast<int32_t>(seq->outputs.size());
  seq->outputs.push_back(id);
  metrics_.generation_tokens_total.Add();
  const bool stop =
      num_before >= group.request.params->min_tokens &&
      std::find(group.stop_ids.begin(), group.stop_ids.end(), id) != group.stop_ids.end();
  TokenEvent* event = NewEvent(seq);
  event->has_token = true;
  event->token = std::move(token);
  if (stop) {
    event->stop_token = id;
    Finish(seq, FinishReason::kStop);
  } else if (num_before + 1 >= seq->max_outputs) {
    Finish(seq, FinishReason::kLength);
  } else {
    if (seq->constraint != nullptr) FollowConstraint(seq, id);
    if (seq->num_in_span == Sequence::kSpanDone) [[likely]]
      return;
    if (!followed_.empty() && followed_.back().seq == seq) FillMasks();  // does it go on?
    if (seq->status != SequenceStatus::kFinished) TrackSpan(seq, id);
  }
}

void EngineCore::TrackSpan(Sequence* seq, int32_t token) {
  const SpanBudget& span = *seq->group->request.span_budget;
  if (seq->num_in_span == Sequence::kSpanNotOpen) {
    if (token == span.open_token) {
      seq->num_in_span = 0;
    } else if (static_cast<int32_t>(seq->outputs.size()) >= SpanBudget::kMaxOpening) {
      seq->num_in_span = Sequence::kSpanDone;
    }
  } else if (token == span.close_token) {
    seq->num_in_span = Sequence::kSpanDone;
  } else {
    ++seq->num_in_span;
  }
  if (seq->num_in_span >= span.max_tokens) AppendForced(seq);
}

// The forced tokens become known ones, as those of a prompt are: a step computes them in one piece
// and samples what follows. What steps in flight sample in their place is ignored, so the result
// does not depend on how many steps are in flight.
void EngineCore::AppendForced(Sequence* seq) {
  seq->num_in_span = Sequence::kSpanDone;
  seq->num_stale = std::exchange(seq->num_pending, 0);
  seq->stale_from = seq->known();
  seq->num_scheduled = std::min(seq->num_scheduled, seq->stale_from);
  seq->slot_loaded = false;  // the sampler has not seen them
  const Request& request = seq->group->request;
  for (const int32_t id : request.span_budget->forced) {
    seq->outputs.push_back(id);
    metrics_.generation_tokens_total.Add();
    TokenEvent* event = NewEvent(seq);
    event->has_token = true;
    event->token.token = id;
    if (request.params->num_logprobs >= 0) event->token.rank = 1;  // of probability one
    if (static_cast<int32_t>(seq->outputs.size()) >= seq->max_outputs) {
      return Finish(seq, FinishReason::kLength);
    }
  }
  if (seq->constraint != nullptr) FollowForced(seq);
}

TokenEvent* EngineCore::NewEvent(Sequence* seq) {
  SequenceGroup* group = seq->group;
  if (group->events.empty()) touched_.push_back(group);
  TokenEvent& event = group->events.emplace_back();
  event.choice = seq->choice;
  event.num_prompt_tokens = seq->num_prompt();
  event.num_cached_tokens = group->num_cached_tokens;
  event.num_preemptions = seq->num_preemptions;
  event.scheduled_us = group->scheduled_us;
  if (seq->choice == 0 && !group->prompt_logprobs.empty() && seq->scoring_done()) {
    event.prompt_logprobs = std::move(group->prompt_logprobs);
    group->prompt_logprobs.clear();
  }
  return &event;
}

// Sends the terminal event: with the token just appended when there is one, else on its own.
void EngineCore::Finish(Sequence* seq, FinishReason reason, const Error* error) {
  SequenceGroup* group = seq->group;
  const bool regular = reason == FinishReason::kStop || reason == FinishReason::kLength;
  // Its latest event, if that has a token; behind it may be some of other choices.
  const auto latest = std::find_if(group->events.rbegin(), group->events.rend(),
                                   [&](const TokenEvent& e) { return e.choice == seq->choice; });
  const bool with_token = regular && latest != group->events.rend() && latest->has_token;
  TokenEvent* event = with_token ? &*latest : NewEvent(seq);
  event->finish = reason;
  if (regular && group->request.pooling != Pooling::kNone) event->embedding = EmbeddingOf(*group);
  if (error != nullptr) event->error = *error;
  scheduler_.Remove(seq);
  CountFinish(reason);
  if (--group->num_live == 0) {
    LeaveQueue(group);
    any_done_ = true;
  }
}

void EngineCore::CountFinish(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      metrics_.finished_stop_total.Add();
      break;
    case FinishReason::kLength:
      metrics_.finished_length_total.Add();
      break;
    case FinishReason::kAbort:
      metrics_.finished_abort_total.Add();
      break;
    default:
      metrics_.finished_error_total.Add();
  }
}

}  // namespace slipstream
