#include "server/openai/responses_answer.h"

#include <utility>

#include "server/json_text.h"

namespace slipstream {
namespace {

using Kind = OutputEvent::Kind;

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json Entries(const std::string& logprobs) {
  return Json::parse("[" + logprobs + "]", nullptr, false);
}

Json Part(Kind kind, const std::string& text, const std::string& logprobs) {
  if (kind == Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", text}};
  return {{"type", "output_text"},
          {"text", text},
          {"annotations", Json::array()},
          {"logprobs", Entries(logprobs)}};
}

}  // namespace

ResponsesResponder::ResponsesResponder(Service& service, std::shared_ptr<Exchange> exchange,
                                       ResponseOptions options, ChatAnswerOptions answer,
                                       ResponsesInput input, std::shared_ptr<ResponseStore> store,
                                       std::string owner)
    : ItemResponder(service, std::move(exchange), std::move(options), std::move(answer)),
      input_(std::move(input)),
      store_(std::move(store)),
      owner_(std::move(owner)) {}

std::string_view ResponsesResponder::id_prefix(Kind kind) const {
  return kind == Kind::kContent ? "msg_" : kind == Kind::kReasoning ? "rs_" : "fc_";
}

void ResponsesResponder::Event(std::string* out, const char* type, Json fields) {
  Json event = {{"type", type}, {"sequence_number", sequence_++}};
  event.update(fields);
  out->append("event: ").append(type).append("\ndata: ").append(Dump(event)).append("\n\n");
}

Json ResponsesResponder::ItemJson(const Item& item, bool done) const {
  const bool cut = done && &item == &items().back() && finish() == FinishReason::kLength;
  Json json = {{"id", item.id}};
  json["status"] = !done ? "in_progress" : cut ? "incomplete" : "completed";
  if (item.kind == Kind::kCallBegin) {
    json["type"] = "function_call";
    json["call_id"] = item.call_id;
    json["name"] = item.name;
    json["arguments"] = done ? item.text : "";
    return json;
  }
  json["type"] = item.kind == Kind::kReasoning ? "reasoning" : "message";
  if (item.kind == Kind::kReasoning) {
    json["summary"] = Json::array();
  } else {
    json["role"] = "assistant";
  }
  json["content"] = done ? Json::array({Part(item.kind, item.text, item.logprobs)}) : Json::array();
  return json;
}

Json ResponsesResponder::Response(const char* status) const {
  Json json = {{"id", options_.id},
               {"object", "response"},
               {"created_at", options_.created},
               {"status", status},
               {"background", false},
               {"error", nullptr},
               {"incomplete_details", nullptr},
               {"model", options_.model},
               {"output", Json::array()}};
  json.update(input_.echo);
  json["usage"] = nullptr;
  return json;
}

Json ResponsesResponder::Finished(const GenerationUsage& usage) const {
  const bool cut = finish() == FinishReason::kLength;
  Json json = Response(cut ? "incomplete" : "completed");
  if (cut) json["incomplete_details"] = {{"reason", "max_output_tokens"}};
  for (const Item& item : items()) json["output"].push_back(ItemJson(item, true));
  json["usage"] = {{"input_tokens", usage.prompt_tokens},
                   {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                   {"output_tokens", usage.completion_tokens},
                   {"output_tokens_details", {{"reasoning_tokens", num_reasoning_tokens_}}},
                   {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
  return json;
}

void ResponsesResponder::Keep(const std::string& body) const {
  if (store_ == nullptr) return;
  Json message = {{"role", "assistant"}, {"content", ""}};
  std::string text, reasoning;
  for (const Item& item : items()) {
    if (item.kind == Kind::kContent) text += item.text;
    if (item.kind == Kind::kReasoning) reasoning += item.text;
    if (item.kind != Kind::kCallBegin) continue;
    message["tool_calls"].push_back(
        {{"id", item.call_id},
         {"type", "function"},
         {"function", {{"name", item.name}, {"arguments", item.text}}}});
  }
  message["content"] = text;
  if (!reasoning.empty()) message["reasoning_content"] = reasoning;
  Json messages = input_.conversation;
  messages.push_back(std::move(message));
  store_->Put(options_.id, {owner_, body, Dump(messages)});
}

void ResponsesResponder::Begin(std::string* out) {
  Event(out, "response.created", {{"response", Response("in_progress")}});
  Event(out, "response.in_progress", {{"response", Response("in_progress")}});
}

void ResponsesResponder::Open(std::string* out, const Item& item) {
  Event(out, "response.output_item.added",
        {{"output_index", item.index}, {"item", ItemJson(item, false)}});
  if (item.kind == Kind::kCallBegin) return;
  Event(out, "response.content_part.added",
        {{"item_id", item.id},
         {"output_index", item.index},
         {"content_index", 0},
         {"part", Part(item.kind, "", "")}});
}

void ResponsesResponder::Delta(std::string* out, const Item& item, std::string_view text,
                               const std::string& logprobs) {
  Json fields = {{"item_id", item.id}, {"output_index", item.index}};
  if (item.kind != Kind::kCallBegin) fields["content_index"] = 0;
  fields["delta"] = text;
  if (item.kind == Kind::kContent) fields["logprobs"] = Entries(logprobs);
  Event(out,
        item.kind == Kind::kContent     ? "response.output_text.delta"
        : item.kind == Kind::kReasoning ? "response.reasoning_text.delta"
                                        : "response.function_call_arguments.delta",
        std::move(fields));
}

void ResponsesResponder::Close(std::string* out, const Item& item) {
  Json fields = {{"item_id", item.id}, {"output_index", item.index}};
  if (item.kind == Kind::kCallBegin) {
    fields["name"] = item.name;
    fields["arguments"] = item.text;
    Event(out, "response.function_call_arguments.done", std::move(fields));
  } else {
    fields["content_index"] = 0;
    Json part = fields;
    part["part"] = Part(item.kind, item.text, item.logprobs);
    fields["text"] = item.text;
    if (item.kind == Kind::kContent) fields["logprobs"] = Entries(item.logprobs);
    Event(
        out,
        item.kind == Kind::kContent ? "response.output_text.done" : "response.reasoning_text.done",
        std::move(fields));
    Event(out, "response.content_part.done", std::move(part));
  }
  Event(out, "response.output_item.done",
        {{"output_index", item.index}, {"item", ItemJson(item, true)}});
}

void ResponsesResponder::Complete(std::string* out, const GenerationUsage& usage) {
  const Json response = Finished(usage);
  Keep(Dump(response));
  Event(out, finish() == FinishReason::kLength ? "response.incomplete" : "response.completed",
        {{"response", response}});
}

std::string ResponsesResponder::WholeBody(const GenerationUsage& usage) const {
  std::string body = Dump(Finished(usage));
  Keep(body);
  return body;
}

void ResponsesResponder::AppendError(std::string* out, const Error& error) {
  if (!begun()) Begin(out);
  Json response = Response("failed");
  response["error"] = {{"code", "server_error"}, {"message", Clip(error.message, 2048)}};
  Event(out, "response.failed", {{"response", response}});
}

}  // namespace slipstream
