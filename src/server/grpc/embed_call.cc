#include "server/grpc/embed_call.h"

#include <utility>
#include <vector>

#include "server/grpc/generate_call.h"
#include "server/openai/common_params.h"

namespace slipstream {

Result<ParsedEmbed> ParseEmbedRequest(const Service& service, const v1::EmbedRequest& message) {
  if (!message.model().empty()) SLIP_RETURN_IF_ERROR(CheckModel(service, message.model()));
  ParsedEmbed parsed{.request = {}, .options = DefaultEmbedding(service)};
  GenerateRequest& request = parsed.request;
  request.id = message.request_id().empty() ? NewId("grpc-") : message.request_id().substr(0, 128);
  request.prompt_field = "inputs";
  for (const v1::EmbedInput& input : message.inputs()) {
    if (input.has_text()) {
      request.prompts.emplace_back(input.text());
    } else if (input.has_token_ids()) {
      const auto& ids = input.token_ids().ids();
      request.prompts.emplace_back(std::vector<int32_t>(ids.begin(), ids.end()));
    } else {
      return InvalidArgument("an input is empty: text or token_ids is required", "inputs");
    }
  }
  if (message.pooling() == v1::POOLING_LAST) parsed.options.pooling = Pooling::kLast;
  if (message.pooling() == v1::POOLING_MEAN) parsed.options.pooling = Pooling::kMean;
  if (!v1::Pooling_IsValid(message.pooling())) {
    return InvalidArgument("pooling has an unknown value", "pooling");
  }
  if (message.has_dimensions()) {
    if (message.dimensions() < 1) {
      return InvalidArgument("dimensions must be at least 1", "dimensions");
    }
    parsed.options.dimensions = message.dimensions();
  }
  parsed.options.normalize = !message.has_normalize() || message.normalize();
  request.add_special_tokens = !message.has_add_special_tokens() || message.add_special_tokens();
  request.priority = message.priority();
  request.cache_salt = message.cache_salt();
  SLIP_RETURN_IF_ERROR(AskForEmbedding(service, parsed.options, &request));
  return parsed;
}

void EmbedCall::Start(ParsedEmbed parsed) {
  self_ = shared_from_this();
  record_ = parsed.request.record;
  options_ = parsed.options;
  auto request = std::make_shared<GenerateRequest>(std::move(parsed.request));
  loop_.Post([self = self_, request] {
    if (self->cancelled_) return self->FinishWith(CancelledBy(self->deadline_));
    for (size_t i = 0; i < request->prompts.size(); ++i) self->response_->add_embeddings();
    auto generation = self->service_.Generate(self->loop_, std::move(*request), self);
    if (!self->finished_) self->generation_ = std::move(generation);
  });
}

void EmbedCall::Refuse(const Error& error, std::shared_ptr<RequestRecord> record) {
  self_ = shared_from_this();
  record_ = std::move(record);
  record_->error = error.message;
  FinishWith(ToGrpcStatus(error));
}

void EmbedCall::OnDelta(const ChoiceDelta& delta) {
  auto vector = FinishEmbedding(*delta.embedding, options_);
  if (vector) {
    response_->mutable_embeddings(delta.index)
        ->mutable_values()
        ->Add(vector->begin(), vector->end());
  } else if (failed_) {
    failed_ = tl::unexpected(std::move(vector).error());
  }
}

void EmbedCall::OnFinished(const GenerationUsage& usage) {
  response_->mutable_usage()->set_prompt_tokens(usage.prompt_tokens);
  response_->mutable_usage()->set_cached_tokens(usage.cached_tokens);
  FinishWith(failed_ ? grpc::Status::OK : ToGrpcStatus(failed_.error()));
}

void EmbedCall::OnError(const Error& error) { FinishWith(ToGrpcStatus(error)); }

void EmbedCall::OnCancel() {
  loop_.Post([self = shared_from_this()] {
    self->cancelled_ = true;
    if (self->generation_) self->generation_->Cancel();
    self->FinishWith(CancelledBy(self->deadline_));
  });
}

void EmbedCall::FinishWith(const grpc::Status& status) {
  generation_.reset();
  if (finished_) return;
  finished_ = true;
  CloseRecord(service_, status, record_.get());
  Finish(status);
}

void EmbedCall::OnDone() {
  const auto last = std::move(self_);
  self_.reset();
}

}  // namespace slipstream
