// The half of ActiveGeneration that turns token events into text events.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "server/active_generation.h"

namespace slipstream {

void ActiveGeneration::HandleEvent(int index, TokenEvent& event) {
  Prompt& prompt = prompts_[index];
  if (!prompt.seen) {
    prompt.seen = true;
    ReleasePlace(&prompt);
    CountPrompt(prompt, event.num_cached_tokens);
    if (scheduled_us_ == 0 && event.has_token) {
      scheduled_us_ = event.scheduled_us;
      service_.metrics_.request_queue_time_seconds.Observe(
          static_cast<double>(std::max<int64_t>(0, scheduled_us_ - created_us_)) * 1e-6);
    }
  }
  if (!prompt.scored) {
    const bool brings_logprobs = event.choice == 0;
    if (!brings_logprobs && event.finish != FinishReason::kError) {
      prompt.held.push_back(std::move(event));
      return;
    }
    prompt.scored = true;
    prompt.logprobs = std::move(event.prompt_logprobs);
    HandleChoice(index, event);
    auto held = std::move(prompt.held);
    for (TokenEvent& waiting : held) {
      if (!ended_) HandleChoice(index, waiting);
    }
    return;
  }
  HandleChoice(index, event);
}

void ActiveGeneration::HandleChoice(int index, TokenEvent& event) {
  const int slot = index * request_.num_choices + event.choice;
  Choice& choice = choices_[slot];
  if (choice.done) return;
  if (event.finish == FinishReason::kError) {
    return FailFor(event.error, service_.metrics_.finished_error_total);
  }
  if (event.finish == FinishReason::kAbort) {
    if (TimeIsUp(now_us_)) return FailFor(OutOfTime(), service_.metrics_.finished_abort_total);
    return Fail({ErrorCode::kUnavailable, "the request was aborted by the server", {}});
  }
  if (event.has_token) CountToken(&choice);

  std::string text;
  std::optional<int> stopped;
  AppendText(&choice, event, &text, &stopped);

  const Prompt& prompt = prompts_[index];
  ChoiceDelta delta;
  delta.index = slot;
  delta.text = text;
  delta.token = event.has_token ? &event.token : nullptr;
  delta.first = !choice.started;
  if (request_.return_prompt_ids) delta.prompt_ids = &prompt.ids;
  if (request_.echo) {
    delta.prompt_text = prompt.text;
    delta.prompt_ids = &prompt.ids;
  }
  if (request_.params.num_prompt_logprobs >= 0) delta.prompt_logprobs = &prompt.logprobs;
  if (request_.pooling != Pooling::kNone) delta.embedding = &event.embedding;
  delta.finish = stopped ? FinishReason::kStop : event.finish;
  delta.stop_string = stopped ? &request_.stop[*stopped] : nullptr;
  if (!stopped && event.finish == FinishReason::kStop) delta.stop_token = event.stop_token;
  choice.started = true;

  if (delta.finish != FinishReason::kNone) {
    choice.done = true;
    --choices_left_;
    num_preemptions_ += event.num_preemptions;
    most_tokens_ = std::max(most_tokens_, choice.num_tokens);
    length_limited_ |= delta.finish == FinishReason::kLength;
    service_.metrics_.request_generation_tokens.Observe(choice.num_tokens);
  }
  if (stopped && event.finish == FinishReason::kNone) {
    sinks_[index]->CancelChoice(event.choice);
    service_.engine_.Wake();
  }
  const auto observer = observer_;  // it may cancel us while we call it
  observer->OnDelta(delta);
  if (choices_left_ == 0 && !ended_) {
    ObserveRequest();
    End(length_limited_ ? &service_.metrics_.finished_length_total
                        : &service_.metrics_.finished_stop_total,
        length_limited_ ? "length" : "stop");
    observer->OnFinished(usage_);
  }
}

void ActiveGeneration::AppendText(Choice* choice, const TokenEvent& event, std::string* text,
                                  std::optional<int>* stopped) {
  if (!choice->detokenizer) {
    choice->detokenizer.emplace(
        service_.tokenizer_, DetokenizeOptions{.skip_special_tokens = request_.skip_special_tokens,
                                               .shown_special = request_.shown_special,
                                               .at_text_start = false});
    if (!request_.stop.empty()) {
      choice->matcher.emplace(request_.stop, request_.include_stop_str_in_output);
    }
  }
  const bool ends = event.finish != FinishReason::kNone;
  std::string piece;
  if (event.has_token) {
    const bool is_stop_token =
        event.finish == FinishReason::kStop && event.stop_token == event.token.token;
    if (!is_stop_token || request_.include_stop_str_in_output) {
      piece = choice->detokenizer->Push(event.token.token);
    }
  }
  if (ends) piece += choice->detokenizer->Flush();
  // Before min_tokens nothing may end the text, so nothing is looked for.
  if (!choice->matcher || choice->num_tokens < request_.params.min_tokens) {
    *text = std::move(piece);
    return;
  }
  StopMatcher::Output out = choice->matcher->Push(piece);
  *text = std::move(out.text);
  *stopped = out.stopped;
  if (ends && !out.stopped) *text += choice->matcher->Flush();
}

void ActiveGeneration::CountPrompt(const Prompt& prompt, int64_t num_cached) {
  usage_.cached_tokens += num_cached;
  ServerMetrics& metrics = service_.metrics_;
  metrics.cached_prompt_tokens_total.Add(num_cached);
  metrics.computed_prompt_tokens_total.Add(prompt.num_tokens - num_cached);
  if (num_cached + 1 == prompt.num_tokens && num_cached > 0) {
    metrics.whole_prompts_cached_total.Add();
  }
}

void ActiveGeneration::CountToken(Choice* choice) {
  ++usage_.completion_tokens;
  ++choice->num_tokens;
  ServerMetrics& metrics = service_.metrics_;
  if (first_token_us_ == 0) {
    first_token_us_ = now_us_;
    metrics.time_to_first_token_seconds.Observe((now_us_ - created_us_) * 1e-6);
  } else if (choice->last_token_us != 0) {
    metrics.inter_token_latency_seconds.Observe((now_us_ - choice->last_token_us) * 1e-6);
  }
  choice->last_token_us = now_us_;
}

void ActiveGeneration::ObserveRequest() {
  ServerMetrics& metrics = service_.metrics_;
  const auto seconds = [](int64_t from_us, int64_t to_us) {
    return static_cast<double>(std::max<int64_t>(0, to_us - from_us)) * 1e-6;
  };
  metrics.e2e_request_latency_seconds.Observe(seconds(created_us_, now_us_));
  metrics.request_prefill_kv_computed_tokens.Observe(
      static_cast<double>(usage_.prompt_tokens - usage_.cached_tokens));
  metrics.request_max_num_generation_tokens.Observe(most_tokens_);
  metrics.request_num_preemptions.Observe(static_cast<double>(num_preemptions_));
  if (first_token_us_ == 0 || scheduled_us_ == 0) return;
  const double decode = seconds(first_token_us_, now_us_);
  metrics.request_prefill_seconds.Observe(seconds(scheduled_us_, first_token_us_));
  metrics.request_decode_seconds.Observe(decode);
  metrics.request_inference_seconds.Observe(seconds(scheduled_us_, now_us_));
  const int64_t later_tokens = usage_.completion_tokens / static_cast<int64_t>(choices_.size()) - 1;
  if (later_tokens > 0) {
    metrics.request_time_per_output_token_seconds.Observe(decode /
                                                          static_cast<double>(later_tokens));
  }
}

Error ActiveGeneration::OutOfTime() const {
  return {ErrorCode::kDeadlineExceeded,
          fmt::format("the request was not finished in the {:g} seconds that it was given",
                      static_cast<double>(deadline_us_ - created_us_) * 1e-6),
          {}};
}

void ActiveGeneration::Tick(int64_t now_us) {
  if (ended_ || !TimeIsUp(now_us)) return;
  FailFor(OutOfTime(), service_.metrics_.finished_abort_total);
}

void ActiveGeneration::Fail(const Error& error) {
  FailFor(error, error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kCancelled
                     ? service_.metrics_.finished_abort_total
                     : service_.metrics_.finished_error_total);
}

void ActiveGeneration::FailFor(const Error& error, Counter& reason) {
  if (ended_) return;
  const bool admitted = !sinks_.empty();
  if (error.code == ErrorCode::kDeadlineExceeded) {
    service_.metrics_.deadlines_exceeded_total.Add();
  }
  CancelSinks();
  const auto observer = observer_;
  End(admitted ? &reason : nullptr,
      &reason == &service_.metrics_.finished_abort_total ? "abort" : "error", error.message);
  observer->OnError(error);
}

void ActiveGeneration::Cancel() {
  if (ended_) return;
  CancelSinks();
  service_.metrics_.client_disconnects_total.Add();
  End(&service_.metrics_.finished_abort_total, "abort", "the client left");
}

void ActiveGeneration::CancelSinks() {
  cancelled_.store(true);
  if (sinks_.empty()) return;
  for (const auto& sink : sinks_) sink->Cancel();
  service_.engine_.Wake();
}

void ActiveGeneration::End(Counter* reason, std::string_view finish, std::string_view error) {
  ended_ = true;
  if (reason != nullptr) reason->Add();
  for (Prompt& prompt : prompts_) ReleasePlace(&prompt);
  Report(finish, error);
  // Last: whoever sees that it is not open any more finds its places and its key's free, too.
  service_.metrics_.open_requests.fetch_sub(1);
  // The sinks own this generation; let go of them here and only the engine's hold remains.
  sinks_.clear();
  observer_.reset();
  early_.clear();
}

void ActiveGeneration::Report(std::string_view finish, std::string_view error) {
  const std::shared_ptr<RequestRecord> record = std::move(request_.record);
  if (!record) return;
  record->generated = true;
  record->first_token_us = first_token_us_;
  record->prompt_tokens = usage_.prompt_tokens;
  record->completion_tokens = usage_.completion_tokens;
  record->cached_tokens = usage_.cached_tokens;
  record->finish = finish;
  record->error = error;
  if (record->key) record->key->Charge(usage_.prompt_tokens, usage_.completion_tokens);
  record->permit.reset();
}

void ActiveGeneration::ReleasePlace(Prompt* prompt) {
  service_.ReleaseTokens(prompt->queued_tokens.exchange(0));
  if (!prompt->queued) return;
  prompt->queued = false;
  service_.Release(1);
}

}  // namespace slipstream
