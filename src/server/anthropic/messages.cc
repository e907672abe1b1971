// POST /v1/messages and /v1/messages/count_tokens: the shape of Anthropic's API.
#include "server/anthropic/messages.h"

#include <exception>
#include <memory>
#include <utility>

#include "server/anthropic/messages_input.h"
#include "server/http/http_errors.h"
#include "server/openai/chat_request.h"
#include "server/openai/item_answer.h"
#include "server/openai/routes.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {
namespace {

using Kind = OutputEvent::Kind;

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

HttpResponse ErrorAnswer(const Error& error) {
  return ShapedFor("/v1/messages", ErrorResponse(error));
}

class MessagesResponder final : public ItemResponder {
 public:
  MessagesResponder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options,
                    ChatAnswerOptions answer)
      : ItemResponder(service, std::move(exchange), std::move(options), std::move(answer)) {}

 private:
  static void Event(std::string* out, const char* type, Json fields) {
    Json event = {{"type", type}};
    event.update(fields);
    out->append("event: ").append(type).append("\ndata: ").append(Dump(event)).append("\n\n");
  }

  static Json UsageJson(const GenerationUsage& usage) {
    return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", usage.cached_tokens},
            {"output_tokens", usage.completion_tokens}};
  }

  Json Message(const GenerationUsage& usage) const {
    return {{"id", options_.id},        {"type", "message"},        {"role", "assistant"},
            {"model", options_.model},  {"content", Json::array()}, {"stop_reason", nullptr},
            {"stop_sequence", nullptr}, {"usage", UsageJson(usage)}};
  }

  Json Ending() const {
    const bool called = !choices_[0].calls.empty();
    const char* reason = finish() == FinishReason::kLength ? "max_tokens"
                         : !stop_string().empty()          ? "stop_sequence"
                         : called                          ? "tool_use"
                                                           : "end_turn";
    const bool stopped = finish() != FinishReason::kLength && !stop_string().empty();
    return {{"stop_reason", reason}, {"stop_sequence", stopped ? Json(stop_string()) : Json()}};
  }

  static Json Block(const Item& item, const std::string& text) {
    if (item.kind == Kind::kContent) return {{"type", "text"}, {"text", text}};
    if (item.kind == Kind::kReasoning) {
      return {{"type", "thinking"}, {"thinking", text}, {"signature", ""}};
    }
    auto input = text.empty() ? Result<Json>(Json::object()) : ParseJsonObject(text);
    return {{"type", "tool_use"},
            {"id", item.call_id},
            {"name", item.name},
            {"input", input ? std::move(*input) : Json::object()}};
  }

  void Begin(std::string* out) override {
    Event(out, "message_start", {{"message", Message(usage_so_far())}});
  }
  void Open(std::string* out, const Item& item) override {
    Event(out, "content_block_start", {{"index", item.index}, {"content_block", Block(item, "")}});
  }
  void Delta(std::string* out, const Item& item, std::string_view text) override {
    Json delta = {{"type", "input_json_delta"}, {"partial_json", text}};
    if (item.kind == Kind::kContent) delta = {{"type", "text_delta"}, {"text", text}};
    if (item.kind == Kind::kReasoning) delta = {{"type", "thinking_delta"}, {"thinking", text}};
    Event(out, "content_block_delta", {{"index", item.index}, {"delta", std::move(delta)}});
  }
  void Close(std::string* out, const Item& item) override {
    Event(out, "content_block_stop", {{"index", item.index}});
  }
  void Complete(std::string* out, const GenerationUsage& usage) override {
    Event(out, "message_delta", {{"delta", Ending()}, {"usage", UsageJson(usage)}});
    Event(out, "message_stop", Json::object());
  }
  std::string_view id_prefix(Kind) const override { return "block_"; }

  std::string WholeBody(const GenerationUsage& usage) const override {
    Json message = Message(usage);
    message.update(Ending());
    for (const Item& item : items()) message["content"].push_back(Block(item, item.text));
    return Dump(message);
  }
  void AppendError(std::string* out, const Error& error) override {
    const std::string body = AnthropicErrorJson(HttpStatusOf(error.code), error.message);
    out->append("event: error\ndata: ").append(body).append("\n\n");
  }
  HttpResponse Refusal(const Error& error) const override { return ErrorAnswer(error); }
  std::string_view idle_text() const override {
    return "event: ping\ndata: {\"type\": \"ping\"}\n\n";
  }
};

Result<ParsedChat> Parse(const Service& service, const HttpRequest& http, bool needs_limit) {
  SLIP_ASSIGN_OR_RETURN(const Json body, ReadJsonBody(http));
  SLIP_ASSIGN_OR_RETURN(Json chat, ChatOfMessages(body, needs_limit));
  // Clients ask every model to think.
  if (!service.output_forms().reasons() && chat.erase("thinking_token_budget") > 0) {
    chat["ignored.thinking"] = true;
  }
  SLIP_ASSIGN_OR_RETURN(ParsedChat parsed, ParseChatBody(service, chat));
  parsed.options.id = NewId("msg_");
  return parsed;
}

Result<int64_t> CountTokens(const Tokenizer& tokenizer, const RenderChat& render) {
  SLIP_ASSIGN_OR_RETURN(const RenderedChat chat, render());
  SLIP_ASSIGN_OR_RETURN(
      const std::vector<int32_t> ids,
      tokenizer.Encode(chat.text, {.add_special_tokens = false, .parse_special = true}));
  return static_cast<int64_t>(ids.size());
}

void Count(Service& service, const std::shared_ptr<Exchange>& exchange, const HttpRequest& http) {
  auto parsed = Parse(service, http, false);
  if (!parsed) return exchange->Respond(ErrorAnswer(parsed.error()));
  auto count = std::make_shared<Result<int64_t>>(0);
  auto work = [count, tokenizer = service.tokenizer(),
               render = std::get<RenderChat>(parsed->request.prompts[0])] {
    try {
      *count = CountTokens(*tokenizer, render);
    } catch (const std::exception& e) {
      *count = Internal(e.what());
    }
  };
  auto done = [count, exchange] {
    if (!*count) return exchange->Respond(ErrorAnswer(count->error()));
    HttpResponse response;
    response.body = Dump({{"input_tokens", **count}});
    exchange->Respond(std::move(response));
  };
  if (!service.RunOnPool(exchange->loop(), std::move(work), std::move(done))) {
    exchange->Respond(
        ErrorAnswer({ErrorCode::kResourceExhausted, "the server is at capacity", {}}));
  }
}

}  // namespace

void AddMessagesRoutes(Service& service, Router* router) {
  router->Add({"POST", "/v1/messages", true,
               [&service](const std::shared_ptr<Exchange>& exchange, HttpRequest&& http) {
                 auto parsed = Parse(service, http, true);
                 if (!parsed) return exchange->Respond(ErrorAnswer(parsed.error()));
                 auto responder = std::make_shared<MessagesResponder>(
                     service, exchange, std::move(parsed->options), std::move(parsed->answer));
                 responder->Run(std::move(parsed->request));
               }});
  router->Add({"POST", "/v1/messages/count_tokens", true,
               [&service](const std::shared_ptr<Exchange>& exchange, HttpRequest&& http) {
                 Count(service, exchange, http);
               }});
}

}  // namespace slipstream
