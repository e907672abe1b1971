// Behind Generation: the path of one request through tokenizer pool, engine, detokenizer and stop
// matcher. Created on its loop's thread; Prepare runs on a tokenizer thread before any event can
// come; everything else is the loop's. Kept alive by its sinks until the engine's last event.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/generation.h"
#include "server/service.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/stop_matcher.h"

namespace slipstream {

// Where the engine puts the events of one prompt. Engine thread, except as EventSink says.
class PromptSink final : public EventSink, public std::enable_shared_from_this<PromptSink> {
 public:
  PromptSink(std::shared_ptr<ActiveGeneration> generation, int prompt,
             std::shared_ptr<Mailbox<StreamMail>> mailbox)
      : generation_(std::move(generation)), prompt_(prompt), mailbox_(std::move(mailbox)) {}

  void OnEvents(std::span<TokenEvent> events) override;
  // Loop thread: hands mail on to the generation.
  void Deliver(std::vector<TokenEvent> events);
  const std::shared_ptr<ActiveGeneration>& generation() const { return generation_; }

 private:
  // Steps that an I/O thread may lag behind before its stream is given up.
  static constexpr int kMaxUndelivered = 4096;

  std::shared_ptr<ActiveGeneration> generation_;
  const int prompt_;
  std::shared_ptr<Mailbox<StreamMail>> mailbox_;
  std::atomic<int> undelivered_{0};
};

class ActiveGeneration final : public Generation,
                               public std::enable_shared_from_this<ActiveGeneration> {
 public:
  ActiveGeneration(std::shared_ptr<Service> service, EventLoop& loop, GenerateRequest request,
                   std::shared_ptr<GenerationObserver> observer);
  ~ActiveGeneration() override;

  // Takes places in the queue and goes to the tokenizer pool, or tells the observer why not.
  void Start();

  void Cancel() override;
  bool accepted() const override { return accepted_; }
  const GenerationUsage& usage() const override { return usage_; }
  void Tick(int64_t now_us) override;

  void Deliver(int prompt, std::vector<TokenEvent> events);
  // Ends the generation with an error as its last event, if it has not ended.
  void Fail(const Error& error);
  EventLoop& loop() const { return loop_; }
  // Tells the observer that a batch of deltas is over.
  void Flush();
  bool flush_wanted = false;  // DeliverMail's mark

 private:
  struct Prompt {
    std::vector<int32_t> ids;  // kept for echo only once submitted
    std::string text;          // for echo
    std::optional<SpanBudget> span_budget;
    int32_t constraint_after = -1;
    std::shared_ptr<const SamplingParams> params;
    std::vector<SampledToken> logprobs;
    std::vector<TokenEvent> held;  // events that must wait for the prompt's logprobs
    int64_t num_tokens = 0;
    bool queued = false;                    // holds a place in the queue
    std::atomic<int64_t> queued_tokens{0};  // and room for so many tokens
    bool scored = false;                    // logprobs are here or not wanted
    bool seen = false;                      // its first event was counted
  };
  struct Choice {
    std::optional<Detokenizer> detokenizer;  // made with the first event
    std::optional<StopMatcher> matcher;
    int64_t last_token_us = 0;
    int num_tokens = 0;
    bool started = false;
    bool done = false;
  };

  Status CheckRequest() const;
  // Has the grammar compiled, if there is one, then posts Prepare to the tokenizer pool.
  void CompileThenPrepare();
  void PostPrepare(const std::vector<std::shared_ptr<PromptSink>>& sinks);
  // Any thread: takes what Prepare or the compiler say to the loop.
  void Conclude(Status status);
  // Tokenizer thread: encodes the prompts and hands them to the engine.
  Status Prepare(const std::vector<std::shared_ptr<PromptSink>>& sinks);
  Status PreparePrompt(size_t index);
  Result<std::vector<int32_t>> EncodePrompt(const std::string& text, bool add_special_tokens,
                                            const char* field) const;
  // `field` names where the prompt came from, for errors.
  Status FitContext(const char* field, Prompt* prompt) const;
  Status Submit(const std::vector<std::shared_ptr<PromptSink>>& sinks);

  void Accept();
  void HandleEvent(int prompt, TokenEvent& event);
  void HandleChoice(int prompt, TokenEvent& event);
  void AppendText(Choice* choice, const TokenEvent& event, std::string* text,
                  std::optional<int>* stopped);
  void CountPrompt(const Prompt& prompt, int64_t num_cached);
  void CountToken(Choice* choice);
  void FailFor(const Error& error, Counter& reason);
  // `reason` null: never admitted, so not counted.
  void End(Counter* reason, std::string_view finish, std::string_view error = {});
  void ReleasePlace(Prompt* prompt);
  bool TimeIsUp(int64_t now_us) const { return deadline_us_ != 0 && now_us >= deadline_us_; }
  Error OutOfTime() const;
  void ObserveRequest();  // histograms of a request that finished
  // Tells the record how it ended, and charges the key for it.
  void Report(std::string_view finish, std::string_view error);
  void CancelSinks();

  const std::shared_ptr<Service> owner_;  // the engine may let go of a sink after the server
  Service& service_;
  EventLoop& loop_;
  GenerateRequest request_;
  std::shared_ptr<GenerationObserver> observer_;
  std::vector<std::shared_ptr<PromptSink>> sinks_;
  std::shared_ptr<const TokenConstraint> constraint_;  // set before Prepare is posted
  std::vector<Prompt> prompts_;
  std::vector<Choice> choices_;
  size_t choices_left_;
  std::atomic<bool> cancelled_{false};  // read by Prepare
  bool accepted_ = false;
  bool ended_ = false;
  bool length_limited_ = false;
  GenerationUsage usage_;
  int64_t num_preemptions_ = 0;  // of all choices
  int most_tokens_ = 0;          // of a choice
  const int64_t created_us_;
  const int64_t deadline_us_;                                   // 0: none
  int64_t scheduled_us_ = 0;                                    // of its first event
  int64_t first_token_us_ = 0;                                  // 0: none yet
  int64_t now_us_ = 0;                                          // of the batch in hand
  std::vector<std::pair<int, std::vector<TokenEvent>>> early_;  // mail from before Accept
};

}  // namespace slipstream
