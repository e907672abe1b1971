// One client request for text, neutral to the protocol it came by: one or more prompts, n choices
// each. A Generation is made by Service::Generate, belongs to one EventLoop and talks to its
// observer on that loop's thread only: nothing or OnAccepted, then OnDelta / OnFlush, then exactly
// one of OnFinished and OnError. After Cancel the observer hears nothing more.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "engine/request.h"
#include "grammar/grammar_source.h"
#include "runtime/sampling_params.h"
#include "server/event_loop.h"
#include "server/request_record.h"

namespace slipstream {

struct RenderedChat {
  std::string text;
  std::optional<SpanBudget> span_budget;  // for the answer
  int32_t constraint_after = -1;          // the token after which the request's grammar begins
};

// Renders a chat; runs on a tokenizer thread before anything is delivered.
using RenderChat = std::function<Result<RenderedChat>()>;

inline constexpr size_t kMaxStops = 64;
inline constexpr size_t kMaxStopBytes = 1024;

struct GenerateRequest {
  std::string id;
  std::vector<std::variant<std::string, std::vector<int32_t>, RenderChat>> prompts;
  int num_choices = 1;  // per prompt, 1..64
  SamplingParams params;
  bool max_tokens_is_rest_of_context = false;  // params.max_tokens is ignored
  std::vector<std::string> stop;  // at most kMaxStops of kMaxStopBytes each, none of them empty
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  std::vector<int32_t> shown_special;  // special tokens shown all the same
  bool add_special_tokens = true;      // to text prompts; rendered chats carry their own
  bool echo = false;                   // the prompt's text and logprobs belong to the answer
  bool return_prompt_ids = false;      // in ChoiceDelta::prompt_ids, as with echo
  // Not kNone: nothing is generated (max_tokens 0, one choice); ChoiceDelta::embedding comes back.
  Pooling pooling = Pooling::kNone;
  std::string prompt_field = "prompt";  // what errors call the prompts
  int priority = 0;
  std::string cache_salt;
  std::optional<GrammarSource> grammar;   // the answer must follow it
  std::optional<double> max_seconds;      // the smallest of this, the record's and the server's
  std::shared_ptr<RequestRecord> record;  // null: nobody wants to know
};

struct GenerationUsage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

// What one step added to one choice. Views live until the call returns.
struct ChoiceDelta {
  int index = 0;  // prompt * num_choices + choice
  std::string_view text;
  const SampledToken* token = nullptr;  // null: the step brought no token of the answer
  bool first = false;                   // the choice's first delta
  // In every delta: with echo; prompt_ids also with return_prompt_ids; logprobs, when asked for,
  // one per prompt token but the first.
  std::string_view prompt_text;
  const std::vector<int32_t>* prompt_ids = nullptr;
  const std::vector<SampledToken>* prompt_logprobs = nullptr;
  const std::vector<float>* embedding = nullptr;  // with pooling, in the prompt's only delta
  FinishReason finish = FinishReason::kNone;      // kStop, kLength: the choice's last delta
  const std::string* stop_string = nullptr;       // kStop by a stop string
  int32_t stop_token = -1;                        // kStop by a token
};

class GenerationObserver {
 public:
  virtual ~GenerationObserver() = default;
  virtual void OnAccepted() {}  // validation is over, the engine has all prompts
  virtual void OnDelta(const ChoiceDelta& delta) = 0;
  virtual void OnFlush() {}  // the deltas known by now have been told
  virtual void OnFinished(const GenerationUsage& usage) = 0;
  virtual void OnError(const Error& error) = 0;
};

class Generation {
 public:
  virtual ~Generation() = default;
  // Loop thread. The engine drops the work before its next step.
  virtual void Cancel() = 0;
  virtual bool accepted() const = 0;
  virtual const GenerationUsage& usage() const = 0;
  // Loop thread, now and then: ends with kDeadlineExceeded when its time is up (NowUs clock). The
  // engine keeps the time too, but may hang.
  virtual void Tick(int64_t now_us) = 0;
};

}  // namespace slipstream
