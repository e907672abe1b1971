#include "server/active_generation.h"

#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <utility>

#include "base/clock.h"

namespace slipstream {
namespace {

constexpr int kMaxChoices = 64;  // EventSink keeps one bit per choice

Error ContextOverflow(int64_t limit, int64_t prompt_tokens, int64_t answer_tokens,
                      const char* param) {
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("This model's maximum context length is {} tokens. However, you "
                           "requested {} tokens ({} in the prompt, {} for the completion). Please "
                           "shorten the prompt or ask for fewer tokens.",
                           limit, prompt_tokens + answer_tokens, prompt_tokens, answer_tokens),
               param};
}

// The rest of such a prompt was not counted.
Error PromptTooLong(int64_t limit, int64_t at_least, const char* param) {
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("This model's maximum context length is {} tokens. However, your prompt "
                           "has at least {} tokens. Please shorten the prompt.",
                           limit, at_least),
               param};
}

int64_t DeadlineOf(const GenerateRequest& request, const ServerConfig& config, int64_t now_us) {
  double seconds = config.request_timeout_seconds;
  const auto allow = [&](const std::optional<double>& most) {
    if (most && (seconds <= 0 || *most < seconds)) seconds = *most;
  };
  allow(request.max_seconds);
  if (request.record) allow(request.record->max_seconds);
  return seconds > 0 ? now_us + static_cast<int64_t>(seconds * 1e6) : 0;
}

}  // namespace

void PromptSink::OnEvents(std::span<TokenEvent> events) {
  StreamMail mail{shared_from_this(), {}};
  mail.events.assign(std::make_move_iterator(events.begin()),
                     std::make_move_iterator(events.end()));
  if (undelivered_.fetch_add(1, std::memory_order_relaxed) >= kMaxUndelivered) Cancel();
  mailbox_->Push(std::move(mail));
}

void PromptSink::Deliver(std::vector<TokenEvent> events) {
  undelivered_.fetch_sub(1, std::memory_order_relaxed);
  generation_->Deliver(prompt_, std::move(events));
}

void DeliverMail(Mailbox<StreamMail>& mailbox) {
  std::vector<std::shared_ptr<ActiveGeneration>> touched;
  mailbox.TakeAll([&](StreamMail&& mail) {
    const std::shared_ptr<ActiveGeneration>& generation = mail.sink->generation();
    if (!generation->flush_wanted) {
      generation->flush_wanted = true;
      touched.push_back(generation);
    }
    mail.sink->Deliver(std::move(mail.events));
  });
  for (const auto& generation : touched) {
    generation->flush_wanted = false;
    generation->Flush();
  }
}

ActiveGeneration::ActiveGeneration(std::shared_ptr<Service> service, EventLoop& loop,
                                   GenerateRequest request,
                                   std::shared_ptr<GenerationObserver> observer)
    : owner_(std::move(service)),
      service_(*owner_),
      loop_(loop),
      request_(std::move(request)),
      observer_(std::move(observer)),
      prompts_(request_.prompts.size()),
      choices_(request_.prompts.size() * static_cast<size_t>(std::max(request_.num_choices, 0))),
      choices_left_(choices_.size()),
      created_us_(NowUs()),
      deadline_us_(DeadlineOf(request_, service_.config_, created_us_)) {
  service_.live_generations_.fetch_add(1);
  service_.metrics_.open_requests.fetch_add(1);
}

ActiveGeneration::~ActiveGeneration() {
  if (!ended_) service_.metrics_.open_requests.fetch_sub(1);
  for (Prompt& prompt : prompts_) ReleasePlace(&prompt);
  service_.Unregister(this);
  service_.live_generations_.fetch_sub(1);
}

Status ActiveGeneration::CheckRequest() const {
  if (request_.num_choices < 1 || request_.num_choices > kMaxChoices) {
    return InvalidArgument(fmt::format("n must be between 1 and {}", kMaxChoices), "n");
  }
  if (request_.prompts.empty()) {
    return InvalidArgument(request_.prompt_field + " is empty", request_.prompt_field);
  }
  const auto limit = static_cast<size_t>(service_.config_.max_queued_requests);
  if (request_.prompts.size() > limit) {
    return InvalidArgument(
        fmt::format("{} prompts in one request, the most is {}", request_.prompts.size(), limit),
        request_.prompt_field);
  }
  return ValidateSamplingParams(request_.params, service_.engine_.info().vocab_size);
}

void ActiveGeneration::Start() {
  ServerMetrics& metrics = service_.metrics_;
  if (service_.draining()) {
    metrics.rejected_draining_total.Add();
    return Fail({ErrorCode::kUnavailable, "the server is shutting down", {}});
  }
  if (Status status = CheckRequest(); !status) {
    metrics.rejected_invalid_total.Add();
    return Fail(status.error());
  }
  const auto places = static_cast<int64_t>(prompts_.size());
  if (!service_.Reserve(places)) {
    metrics.rejected_queue_full_total.Add();
    return Fail({ErrorCode::kResourceExhausted,
                 fmt::format("the queue is full ({} requests wait); try again later",
                             service_.config_.max_queued_requests),
                 {}});
  }
  for (Prompt& prompt : prompts_) prompt.queued = true;
  metrics.requests_total.Add();
  const auto self = shared_from_this();
  for (size_t i = 0; i < prompts_.size(); ++i) {
    sinks_.push_back(std::make_shared<PromptSink>(self, static_cast<int>(i), loop_.mailbox()));
  }
  service_.Register(self);
  CompileThenPrepare();
}

void ActiveGeneration::CompileThenPrepare() {
  if (!request_.grammar) return PostPrepare(sinks_);
  const auto self = shared_from_this();
  service_.grammars_.Compile(*request_.grammar,
                             [self, sinks = sinks_](GrammarCompiler::Compiled compiled) {
                               if (!compiled)
                                 return self->Conclude(tl::unexpected(std::move(compiled).error()));
                               self->constraint_ = std::move(*compiled);
                               self->PostPrepare(sinks);
                             });
}

void ActiveGeneration::PostPrepare(const std::vector<std::shared_ptr<PromptSink>>& sinks) {
  service_.pool_.Post([self = shared_from_this(), sinks] {
    if (!self->cancelled_.load()) self->Conclude(self->Prepare(sinks));
  });
}

void ActiveGeneration::Conclude(Status status) {
  loop_.Post([self = shared_from_this(), status = std::move(status)] {
    if (status) return self->Accept();
    if (status.error().code == ErrorCode::kInvalidArgument) {
      self->service_.metrics_.rejected_invalid_total.Add();
    } else if (status.error().code == ErrorCode::kResourceExhausted) {
      self->service_.metrics_.rejected_queue_full_total.Add();
    }
    self->Fail(status.error());
  });
}

Status ActiveGeneration::Prepare(const std::vector<std::shared_ptr<PromptSink>>& sinks) {
  // Allocation may fail on huge prompts; that is this request's error.
  try {
    for (size_t i = 0; i < prompts_.size(); ++i) SLIP_RETURN_IF_ERROR(PreparePrompt(i));
    return Submit(sinks);
  } catch (const std::exception& e) {
    return Internal(fmt::format("could not encode the prompt: {}", e.what()));
  }
}

Status ActiveGeneration::PreparePrompt(size_t index) {
  Prompt& prompt = prompts_[index];
  auto& source = request_.prompts[index];
  const bool is_chat = std::holds_alternative<RenderChat>(source);
  const char* field = is_chat ? "messages" : request_.prompt_field.c_str();
  if (auto* text = std::get_if<std::string>(&source)) {
    SLIP_ASSIGN_OR_RETURN(prompt.ids, EncodePrompt(*text, request_.add_special_tokens, field));
    if (request_.echo) prompt.text = std::move(*text);
  } else if (auto* render = std::get_if<RenderChat>(&source)) {
    SLIP_ASSIGN_OR_RETURN(RenderedChat chat, (*render)());
    SLIP_ASSIGN_OR_RETURN(prompt.ids, EncodePrompt(chat.text, false, field));
    prompt.span_budget = std::move(chat.span_budget);
    prompt.constraint_after = chat.constraint_after;
  } else {
    prompt.ids = std::move(std::get<std::vector<int32_t>>(source));
    const int64_t vocab_size = service_.engine_.info().vocab_size;
    for (const int32_t id : prompt.ids) {
      if (id < 0 || id >= vocab_size) {
        return InvalidArgument(
            fmt::format("{} has token id {}, the vocabulary ends at {}", field, id, vocab_size - 1),
            field);
      }
    }
    if (request_.echo) prompt.text = Decode(service_.tokenizer_, prompt.ids);
  }
  source = std::string();  // a long conversation need not live as long as its answer
  if (prompt.ids.empty()) return InvalidArgument("the prompt has no tokens", request_.prompt_field);
  prompt.num_tokens = static_cast<int64_t>(prompt.ids.size());
  SLIP_RETURN_IF_ERROR(FitContext(field, &prompt));
  if (service_.ReserveTokens(prompt.num_tokens)) {
    prompt.queued_tokens = prompt.num_tokens;
    return {};
  }
  return slipstream::Fail(ErrorCode::kResourceExhausted,
                          fmt::format("the queue is full ({} prompt tokens wait); try again later",
                                      service_.metrics_.queued_tokens.load()));
}

Result<std::vector<int32_t>> ActiveGeneration::EncodePrompt(const std::string& text,
                                                            bool add_special_tokens,
                                                            const char* field) const {
  const Tokenizer& tokenizer = *service_.tokenizer_;
  const int64_t limit = service_.model_.max_model_len;
  // Megabytes take seconds of a thread that all prompts wait for; most need no counting.
  const auto at_least = static_cast<int64_t>(tokenizer.MinTokens(text));
  if (at_least > limit) return tl::unexpected(PromptTooLong(limit, at_least, field));
  SLIP_ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                        tokenizer.Encode(text, {.add_special_tokens = add_special_tokens,
                                                .parse_special = true,
                                                .max_tokens = static_cast<size_t>(limit)}));
  const auto count = static_cast<int64_t>(ids.size());
  if (count > limit) return tl::unexpected(PromptTooLong(limit, count, field));
  return ids;
}

Status ActiveGeneration::FitContext(const char* field, Prompt* prompt) const {
  const int64_t limit = service_.model_.max_model_len;
  const int64_t room = limit - prompt->num_tokens;
  auto params = std::make_shared<SamplingParams>(request_.params);
  if (request_.max_tokens_is_rest_of_context) {
    if (room < 1) return tl::unexpected(ContextOverflow(limit, prompt->num_tokens, 1, field));
    params->max_tokens = static_cast<int>(room);
  } else if (params->max_tokens > room) {
    return tl::unexpected(
        ContextOverflow(limit, prompt->num_tokens, params->max_tokens,
                        room < std::min(1, params->max_tokens) ? field : "max_tokens"));
  }
  if (params->min_tokens > params->max_tokens) {
    return InvalidArgument(fmt::format("min_tokens is {}, more than max_tokens, {}",
                                       params->min_tokens, params->max_tokens),
                           "min_tokens");
  }
  prompt->scored = params->num_prompt_logprobs < 0 || prompt->num_tokens < 2;
  prompt->params = std::move(params);
  return {};
}

Status ActiveGeneration::Submit(const std::vector<std::shared_ptr<PromptSink>>& sinks) {
  for (size_t i = 0; i < prompts_.size(); ++i) {
    Prompt& prompt = prompts_[i];
    Request request;
    request.id = prompts_.size() == 1 ? request_.id : fmt::format("{}-{}", request_.id, i);
    const bool keep_ids = request_.echo || request_.return_prompt_ids;
    request.prompt_ids = keep_ids ? prompt.ids : std::move(prompt.ids);
    request.span_budget = std::move(prompt.span_budget);
    request.constraint = constraint_;
    request.constraint_after = prompt.constraint_after;
    request.params = prompt.params;
    request.num_choices = request_.num_choices;
    request.pooling = request_.pooling;
    request.priority = request_.priority;
    request.cache_salt = request_.cache_salt;
    if (deadline_us_ != 0) request.deadline_us = deadline_us_;
    request.sink = sinks[i];
    SLIP_RETURN_IF_ERROR(service_.SubmitToEngine(std::move(request)));
  }
  return {};
}

void ActiveGeneration::Accept() {
  if (ended_) return;
  accepted_ = true;
  for (const Prompt& prompt : prompts_) {
    usage_.prompt_tokens += prompt.num_tokens;
    service_.metrics_.request_prompt_tokens.Observe(static_cast<double>(prompt.num_tokens));
    service_.metrics_.request_params_max_tokens.Observe(prompt.params->max_tokens);
  }
  service_.metrics_.request_params_n.Observe(request_.num_choices);
  const auto observer = observer_;
  observer->OnAccepted();
  auto early = std::move(early_);
  for (auto& [prompt, events] : early) Deliver(prompt, std::move(events));
  Flush();
}

void ActiveGeneration::Deliver(int prompt, std::vector<TokenEvent> events) {
  if (ended_) return;
  if (!accepted_) {
    early_.emplace_back(prompt, std::move(events));
    return;
  }
  now_us_ = NowUs();
  for (TokenEvent& event : events) {
    if (ended_) return;
    HandleEvent(prompt, event);
  }
}

void ActiveGeneration::Flush() {
  if (const auto observer = observer_) observer->OnFlush();
}

}  // namespace slipstream
