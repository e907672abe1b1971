#include "server/grpc/generate_call.h"

#include <fmt/core.h>

#include <limits>
#include <utility>

#include "server/json_text.h"
#include "server/openai/common_params.h"

namespace slipstream {
namespace {

constexpr size_t kMaxQueuedMessages = 8192;  // a client further behind is cut off

void AddLogprob(const Tokenizer& tokenizer, int32_t id, float logprob, v1::TokenLogprob* out) {
  out->set_token_id(id);
  out->set_logprob(logprob);
  out->set_token(std::string(tokenizer.TokenBytes(id)));
}

SamplingParams ParseSampling(const v1::SamplingParams& in) {
  SamplingParams out;
  if (in.has_temperature()) out.temperature = in.temperature();
  if (in.has_top_k()) out.top_k = in.top_k();
  if (in.has_top_p()) out.top_p = in.top_p();
  if (in.has_min_p()) out.min_p = in.min_p();
  if (in.has_repetition_penalty()) out.repetition_penalty = in.repetition_penalty();
  if (in.has_presence_penalty()) out.presence_penalty = in.presence_penalty();
  if (in.has_frequency_penalty()) out.frequency_penalty = in.frequency_penalty();
  for (const auto& [id, bias] : in.logit_bias()) out.logit_bias.emplace_back(id, bias);
  if (in.has_seed()) out.seed = in.seed();
  out.max_tokens = in.has_max_tokens() ? in.max_tokens() : std::numeric_limits<int32_t>::max();
  if (in.has_min_tokens()) out.min_tokens = in.min_tokens();
  out.stop_token_ids.assign(in.stop_token_ids().begin(), in.stop_token_ids().end());
  if (in.has_ignore_eos()) out.ignore_eos = in.ignore_eos();
  if (in.has_num_logprobs()) out.num_logprobs = in.num_logprobs();
  return out;
}

Result<std::optional<GrammarSource>> ParseStructuredOutput(const v1::StructuredOutput& in) {
  const bool strict = !in.has_strict() || in.strict();
  switch (in.kind_case()) {
    case v1::StructuredOutput::kJsonObject:
      if (!in.json_object()) return std::nullopt;
      return GrammarSource{GrammarKind::kJsonObject, "", true, "structured_output"};
    case v1::StructuredOutput::kJsonSchema:
      return GrammarSource{GrammarKind::kJsonSchema, in.json_schema(), strict,
                           "structured_output.json_schema"};
    case v1::StructuredOutput::kRegex:
      return GrammarSource{GrammarKind::kRegex, in.regex(), true, "structured_output.regex"};
    case v1::StructuredOutput::kGrammar:
      return GrammarSource{GrammarKind::kEbnf, in.grammar(), true, "structured_output.grammar"};
    case v1::StructuredOutput::kChoice: {
      std::string list = "[";
      for (const std::string& text : in.choice().texts()) {
        if (list.size() > 1) list += ',';
        AppendJsonString(&list, text);
      }
      return GrammarSource{GrammarKind::kChoice, list + "]", true, "structured_output.choice"};
    }
    default:
      return InvalidArgument("structured_output is empty", "structured_output");
  }
}

Result<std::vector<std::string>> ParseStops(const v1::GenerateRequest& message) {
  if (static_cast<size_t>(message.stop_size()) > kMaxStops) {
    return InvalidArgument(
        fmt::format("stop has {} strings, the most is {}", message.stop_size(), kMaxStops), "stop");
  }
  std::vector<std::string> stops;
  for (const std::string& text : message.stop()) {
    if (text.size() > kMaxStopBytes) {
      return InvalidArgument(fmt::format("stop is longer than {} bytes", kMaxStopBytes), "stop");
    }
    if (!text.empty()) stops.push_back(text);
  }
  return stops;
}

}  // namespace

grpc::Status ToGrpcStatus(const Error& error) {
  return grpc::Status(static_cast<grpc::StatusCode>(error.code), error.message.substr(0, 1024),
                      error.param.substr(0, 128));
}

grpc::Status CancelledBy(std::chrono::system_clock::time_point deadline) {
  // The client ends the call by its own clock; here the deadline is later by what the call took to
  // arrive.
  constexpr auto kSlack = std::chrono::milliseconds(50);
  if (std::chrono::system_clock::now() < deadline - kSlack) return grpc::Status::CANCELLED;
  return {grpc::StatusCode::DEADLINE_EXCEEDED, "the deadline of the call has passed"};
}

void CloseRecord(const Service& service, const grpc::Status& status, RequestRecord* record) {
  record->status = static_cast<int>(status.error_code());
  record->permit.reset();
  if (service.config().log_requests) LogRequest(LogLevel::kInfo, *record);
}

Result<GenerateRequest> ParseGenerateRequest(const Service& service,
                                             const v1::GenerateRequest& message) {
  if (!message.model().empty()) SLIP_RETURN_IF_ERROR(CheckModel(service, message.model()));
  GenerateRequest request;
  request.id = message.request_id().empty() ? NewId("grpc-") : message.request_id().substr(0, 128);
  if (message.has_text()) {
    request.prompts.emplace_back(message.text());
  } else if (message.has_token_ids()) {
    const auto& ids = message.token_ids().ids();
    request.prompts.emplace_back(std::vector<int32_t>(ids.begin(), ids.end()));
  } else {
    return InvalidArgument("prompt is required: text or token_ids", "prompt");
  }
  request.num_choices = message.has_n() ? message.n() : 1;
  if (request.num_choices < 1 || request.num_choices > 64) {
    return InvalidArgument("n must be between 1 and 64", "n");
  }
  request.params = ParseSampling(message.sampling());
  request.max_tokens_is_rest_of_context = !message.sampling().has_max_tokens();
  SLIP_ASSIGN_OR_RETURN(request.stop, ParseStops(message));
  request.include_stop_str_in_output = message.include_stop_str_in_output();
  request.skip_special_tokens = !message.has_skip_special_tokens() || message.skip_special_tokens();
  request.add_special_tokens = !message.has_add_special_tokens() || message.add_special_tokens();
  request.priority = message.priority();
  request.cache_salt = message.cache_salt();
  if (message.has_structured_output()) {
    SLIP_ASSIGN_OR_RETURN(request.grammar, ParseStructuredOutput(message.structured_output()));
  }
  return request;
}

void GenerateCall::Start(GenerateRequest request) {
  self_ = shared_from_this();
  record_ = request.record;
  auto shared = std::make_shared<GenerateRequest>(std::move(request));
  loop_.Post([self = self_, shared] {
    if (self->cancelled_) return self->FinishWith(CancelledBy(self->deadline_));
    self->generation_ = self->service_.Generate(self->loop_, std::move(*shared), self);
  });
}

void GenerateCall::Refuse(const Error& error, std::shared_ptr<RequestRecord> record) {
  self_ = shared_from_this();
  record_ = std::move(record);
  record_->error = error.message;
  FinishWith(ToGrpcStatus(error));
}

void GenerateCall::OnDelta(const ChoiceDelta& delta) {
  v1::GenerateResponse message;
  message.set_index(delta.index);
  message.set_text(std::string(delta.text));
  if (delta.token != nullptr) {
    message.add_token_ids(delta.token->token);
    if (!delta.token->top.empty() || delta.token->rank > 0) {
      v1::TokenLogprobs* logprobs = message.add_logprobs();
      const Tokenizer& tokenizer = *service_.tokenizer();
      AddLogprob(tokenizer, delta.token->token, delta.token->logprob, logprobs->mutable_sampled());
      for (const TokenLogprob& top : delta.token->top) {
        AddLogprob(tokenizer, top.token, top.logprob, logprobs->add_top());
      }
    }
  }
  if (delta.finish == FinishReason::kStop) message.set_finish_reason(v1::FINISH_REASON_STOP);
  if (delta.finish == FinishReason::kLength) message.set_finish_reason(v1::FINISH_REASON_LENGTH);
  if (delta.stop_string != nullptr) message.set_stop_string(*delta.stop_string);
  if (delta.stop_token >= 0) message.set_stop_token_id(delta.stop_token);
  Push(std::move(message));
}

void GenerateCall::OnFinished(const GenerationUsage& usage) {
  v1::GenerateResponse message;
  message.mutable_usage()->set_prompt_tokens(usage.prompt_tokens);
  message.mutable_usage()->set_completion_tokens(usage.completion_tokens);
  message.mutable_usage()->set_cached_tokens(usage.cached_tokens);
  Push(std::move(message));
  generation_.reset();
  FinishWith(grpc::Status::OK);
}

void GenerateCall::OnError(const Error& error) {
  generation_.reset();
  FinishWith(ToGrpcStatus(error));
}

void GenerateCall::OnCancel() {
  loop_.Post([self = shared_from_this()] {
    self->cancelled_ = true;
    if (self->generation_) self->generation_->Cancel();
    self->generation_.reset();
    self->FinishWith(CancelledBy(self->deadline_));
  });
}

void GenerateCall::Push(v1::GenerateResponse message) {
  bool lagging;
  {
    std::lock_guard lock(mutex_);
    lagging = queue_.size() >= kMaxQueuedMessages;
    if (!lagging && !finishing_) {
      queue_.push_back(std::move(message));
      Advance();
    }
  }
  if (!lagging) return;
  service_.metrics().slow_clients_total.Add();
  if (generation_) generation_->Cancel();
  generation_.reset();
  FinishWith({grpc::StatusCode::RESOURCE_EXHAUSTED, "the client does not read its stream"});
}

void GenerateCall::FinishWith(grpc::Status status) {
  std::lock_guard lock(mutex_);
  if (finishing_) return;
  finishing_ = true;
  status_ = std::move(status);
  CloseRecord(service_, status_, record_.get());
  Advance();
}

void GenerateCall::Advance() {
  if (writing_ || finished_) return;
  if (!queue_.empty()) {
    writing_ = true;
    StartWrite(&queue_.front());
  } else if (finishing_) {
    finished_ = true;
    Finish(status_);
  }
}

void GenerateCall::OnWriteDone(bool ok) {
  std::lock_guard lock(mutex_);
  writing_ = false;
  if (ok) {
    queue_.pop_front();
  } else {
    queue_.clear();  // the client is gone; OnCancel ends the work
  }
  Advance();
}

void GenerateCall::OnDone() {
  const auto last = std::move(self_);
  self_.reset();
}

}  // namespace slipstream
