// A request to the engine and the events that come back. Immutable once submitted. The engine owns
// it from Submit to the terminal events.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/token_constraint.h"
#include "runtime/forward_input.h"
#include "runtime/sampling_params.h"

namespace slipstream {

// What a request wants of its prompt instead of an answer: the final hidden state of the last
// token, or the mean of those of all.
enum class Pooling : uint8_t { kNone, kLast, kMean };

enum class FinishReason : uint8_t { kNone, kStop, kLength, kAbort, kError };

struct TokenEvent {
  int32_t choice = 0;  // which of the request's n choices
  bool has_token = false;
  SampledToken token;                         // when has_token
  FinishReason finish = FinishReason::kNone;  // not kNone: the choice's one terminal event
  int32_t stop_token = -1;                    // token id that ended it with kStop
  Error error;                                // when kError
  int32_t num_prompt_tokens = 0;              // set on every event
  int32_t num_cached_tokens = 0;              // prompt tokens found in the prefix cache
  int32_t num_preemptions = 0;                // of this choice so far
  int64_t scheduled_us = 0;                   // when its first step was planned; on every event
  std::vector<SampledToken> prompt_logprobs;  // first event of choice 0: one per prompt token but
                                              // the first, when asked for
  std::vector<float> embedding;               // terminal event of a request with pooling
};

// Where a request's events go. OnEvents is called on the engine thread with the events of one step
// and must neither block nor throw. Cancel may be called from any thread at any time; the engine
// sees it before the next step and answers with terminal events of kAbort.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnEvents(std::span<TokenEvent> events) = 0;

  void Cancel() { cancelled_.store(true, std::memory_order_release); }
  // Ends one choice (a stop string was found); other choices go on. Choices 0..63.
  void CancelChoice(int choice) {
    cancelled_choices_.fetch_or(uint64_t{1} << choice, std::memory_order_release);
  }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  uint64_t cancelled_choices() const { return cancelled_choices_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> cancelled_{false};
  std::atomic<uint64_t> cancelled_choices_{0};
};

// Bounds the tokens between two marks of the output, such as <think> and </think>. When so many
// have come and the closing mark has not, `forced` follows as if it had been sampled: the tokens
// are events, count as output and are what the next token is sampled from. They fall at the same
// place whatever the schedule.
struct SpanBudget {
  int32_t open_token =
      -1;  // among the first kMaxOpening outputs; -1: the span begins with the first
  int32_t close_token = -1;
  int32_t max_tokens = 0;       // between the marks; at least 1 if the span begins with the first
  std::vector<int32_t> forced;  // not empty

  static constexpr int32_t kMaxOpening = 4;
};

struct Request {
  std::string id;
  std::vector<int32_t> prompt_ids;  // not empty
  std::shared_ptr<const SamplingParams> params;
  int num_choices = 1;                 // 1..64; choice k samples with seed + k
  int priority = 0;                    // lower runs first
  std::optional<int64_t> deadline_us;  // NowUs() clock; past it: kAbort
  std::string cache_salt;              // separates prefix cache entries
  std::optional<SpanBudget> span_budget;
  // What the answer must be; null: anything. It begins with the first token, or behind the first
  // `constraint_after` (the end of reasoning) if that is not -1. Where it allows nothing more, the
  // choice ends with kStop without a stop token. Forced tokens of a span are not its business.
  std::shared_ptr<const TokenConstraint> constraint;
  int32_t constraint_after = -1;
  // Not kNone: there is one choice and nothing is generated (max_tokens 0); it ends with kStop.
  Pooling pooling = Pooling::kNone;
  std::shared_ptr<EventSink> sink;
};

}  // namespace slipstream
