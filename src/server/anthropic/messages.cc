// POST /v1/messages and /v1/messages/count_tokens: the shape of Anthropic's API.
#include "server/anthropic/messages.h"

#include <memory>
#include <utility>

#include "server/anthropic/messages_input.h"
#include "server/http/http_errors.h"
#include "server/openai/chat_request.h"
#include "server/openai/item_answer.h"
#include "server/openai/json_endpoint.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {
namespace {

using Kind = OutputEvent::Kind;

constexpr const char* kPath = "/v1/messages";
constexpr const char* kCountPath = "/v1/messages/count_tokens";

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
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
  void Delta(std::string* out, const Item& item, std::string_view text,
             const std::string&) override {
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
  HttpResponse Refusal(const Error& error) const override {
    return ShapedFor(kPath, ErrorResponse(error));
  }
  std::string_view idle_text() const override {
    return "event: ping\ndata: {\"type\": \"ping\"}\n\n";
  }
};

Result<ParsedChat> Parse(const Service& service, const Json& body, bool needs_limit) {
  SLIP_ASSIGN_OR_RETURN(Json chat, ChatOfMessages(body, needs_limit));
  // Clients ask every model to think.
  if (!service.output_forms().reasons() && chat.erase("thinking_token_budget") > 0) {
    chat["ignored.thinking"] = true;
  }
  SLIP_ASSIGN_OR_RETURN(ParsedChat parsed, ParseChatBody(service, chat));
  parsed.options.id = NewId("msg_");
  return parsed;
}

Result<std::string> CountTokens(const Tokenizer& tokenizer, const RenderChat& render) {
  SLIP_ASSIGN_OR_RETURN(const RenderedChat chat, render());
  SLIP_ASSIGN_OR_RETURN(
      const std::vector<int32_t> ids,
      tokenizer.Encode(chat.text, {.add_special_tokens = false, .parse_special = true}));
  return Dump({{"input_tokens", ids.size()}});
}

}  // namespace

void AddMessagesRoutes(Service& service, Router* router) {
  AddPost(
      router, kPath,
      [&service](const Json& body, const Exchange&) { return Parse(service, body, true); },
      [&service](const std::shared_ptr<Exchange>& exchange, ParsedChat parsed) {
        std::make_shared<MessagesResponder>(service, exchange, std::move(parsed.options),
                                            std::move(parsed.answer))
            ->Run(std::move(parsed.request));
      });
  AddPost(
      router, kCountPath,
      [&service](const Json& body, const Exchange&) { return Parse(service, body, false); },
      [&service](const std::shared_ptr<Exchange>& exchange, ParsedChat parsed) {
        AnswerFromPool(service, exchange, kCountPath,
                       [tokenizer = service.tokenizer(),
                        render = std::get<RenderChat>(std::move(parsed.request.prompts[0]))] {
                         return CountTokens(*tokenizer, render);
                       });
      });
}

}  // namespace slipstream
