// Keeps the events of one request and checks the promises of EventSink's contract as they come.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "engine/request.h"

namespace slipstream::testing {

struct ChoiceRecord {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  int num_terminal = 0;
  int32_t stop_token = -1;
  Error error;
  std::vector<float> embedding;
  int32_t num_preemptions = 0;
};

class RecordingSink : public EventSink {
 public:
  void OnEvents(std::span<TokenEvent> events) override {
    std::lock_guard lock(mutex_);
    for (TokenEvent& e : events) {
      ChoiceRecord& c = choices_[e.choice];
      if (c.num_terminal > 0) problems_.push_back("an event after the terminal one");
      num_cached_tokens_ = e.num_cached_tokens;
      num_prompt_tokens_ = e.num_prompt_tokens;
      if (!e.prompt_logprobs.empty()) {
        if (!c.tokens.empty() || e.choice != 0) problems_.push_back("late prompt logprobs");
        prompt_logprobs_ = std::move(e.prompt_logprobs);
      }
      if (e.has_token) c.tokens.push_back(e.token.token);
      if (e.finish == FinishReason::kNone) continue;
      ++c.num_terminal;
      c.finish = e.finish;
      c.stop_token = e.stop_token;
      c.error = e.error;
      c.num_preemptions = e.num_preemptions;
      c.embedding = e.embedding;
      ++num_finished_;
    }
  }

  // Not synchronised: for use after the engine is done, or on its thread.
  const ChoiceRecord& choice(int k) { return choices_[k]; }
  const std::vector<SampledToken>& prompt_logprobs() const { return prompt_logprobs_; }
  int num_cached_tokens() const { return num_cached_tokens_; }
  int num_prompt_tokens() const { return num_prompt_tokens_; }
  const std::vector<std::string>& problems() const { return problems_; }

  int num_finished() {
    std::lock_guard lock(mutex_);
    return num_finished_;
  }
  size_t num_tokens(int k) {
    std::lock_guard lock(mutex_);
    return choices_[k].tokens.size();
  }

 private:
  std::mutex mutex_;
  std::map<int, ChoiceRecord> choices_;
  std::vector<SampledToken> prompt_logprobs_;
  int num_cached_tokens_ = 0;
  int num_prompt_tokens_ = 0;
  int num_finished_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace slipstream::testing
