#include "server/anthropic/messages_input.h"

#include <fmt/core.h>

#include <string>
#include <utility>

namespace slipstream {
namespace {

Error Bad(const std::string& at, const std::string& why) {
  return {ErrorCode::kInvalidArgument, at + ": " + why, at};
}

Result<std::string> StringOf(const Json& object, const char* name, const std::string& at) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) {
    return tl::unexpected(Bad(at + "." + name, "must be a string"));
  }
  return found->get<std::string>();
}

void AddLine(std::string* text, const std::string& more) {
  if (!text->empty()) *text += '\n';
  *text += more;
}

// A string, or a list of text blocks.
Result<std::string> TextOf(const Json& content, const std::string& at) {
  if (content.is_null()) return std::string();
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return tl::unexpected(Bad(at, "must be a string or an array of blocks"));
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string here = fmt::format("{}.{}", at, i);
    if (!content[i].is_object() || content[i].value("type", Json()) != "text") {
      return tl::unexpected(Bad(here, "must be a text block: this model takes no other content"));
    }
    SLIP_ASSIGN_OR_RETURN(const std::string piece, StringOf(content[i], "text", here));
    AddLine(&text, piece);
  }
  return text;
}

struct Turn {
  std::string text, reasoning;
  Json calls = Json::array(), results = Json::array();
};

Status ReadBlock(const Json& block, const std::string& at, bool is_user, Turn* turn) {
  if (!block.is_object()) return tl::unexpected(Bad(at, "must be an object"));
  SLIP_ASSIGN_OR_RETURN(const std::string type, StringOf(block, "type", at));
  if (type == "text") {
    SLIP_ASSIGN_OR_RETURN(const std::string text, StringOf(block, "text", at));
    AddLine(&turn->text, text);
  } else if (type == "tool_result" && is_user) {
    SLIP_ASSIGN_OR_RETURN(const std::string id, StringOf(block, "tool_use_id", at));
    SLIP_ASSIGN_OR_RETURN(const std::string text,
                          TextOf(block.value("content", Json()), at + ".content"));
    turn->results.push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", text}});
  } else if (type == "tool_use" && !is_user) {
    SLIP_ASSIGN_OR_RETURN(const std::string id, StringOf(block, "id", at));
    SLIP_ASSIGN_OR_RETURN(const std::string name, StringOf(block, "name", at));
    const Json input = block.value("input", Json::object());
    if (!input.is_object()) return tl::unexpected(Bad(at + ".input", "must be an object"));
    turn->calls.push_back(
        {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", input}}}});
  } else if (type == "thinking" && !is_user) {
    SLIP_ASSIGN_OR_RETURN(const std::string text, StringOf(block, "thinking", at));
    AddLine(&turn->reasoning, text);
  } else if (type != "redacted_thinking" || is_user) {
    return tl::unexpected(
        Bad(at + ".type", "has no place here or is not supported: " + Shown(Json(type))));
  }
  return {};
}

Status ReadMessage(const Json& message, const std::string& at, Json* out) {
  if (!message.is_object()) return tl::unexpected(Bad(at, "must be an object"));
  SLIP_ASSIGN_OR_RETURN(const std::string role, StringOf(message, "role", at));
  if (role != "user" && role != "assistant") {
    return tl::unexpected(Bad(at + ".role", "must be user or assistant"));
  }
  const Json content = message.value("content", Json());
  Turn turn;
  if (content.is_string()) {
    turn.text = content.get<std::string>();
  } else if (content.is_array()) {
    for (size_t i = 0; i < content.size(); ++i) {
      SLIP_RETURN_IF_ERROR(
          ReadBlock(content[i], fmt::format("{}.content.{}", at, i), role == "user", &turn));
    }
  } else {
    return tl::unexpected(Bad(at + ".content", "must be a string or an array of blocks"));
  }
  // What tools said is a turn of its own to chat templates, before what the user adds.
  for (Json& result : turn.results) out->push_back(std::move(result));
  if (!turn.results.empty() && turn.text.empty()) return {};
  Json chat = {{"role", role}, {"content", turn.text}};
  if (!turn.calls.empty()) chat["tool_calls"] = std::move(turn.calls);
  if (!turn.reasoning.empty()) chat["reasoning_content"] = turn.reasoning;
  out->push_back(std::move(chat));
  return {};
}

Status ReadTools(const Json& body, Json* chat) {
  const Json tools = body.value("tools", Json());
  if (!tools.is_null() && !tools.is_array()) {
    return tl::unexpected(Bad("tools", "must be an array"));
  }
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string at = fmt::format("tools.{}", i);
    const Json& tool = tools[i];
    if (!tool.is_object()) return tl::unexpected(Bad(at, "must be an object"));
    const Json type = tool.value("type", Json());
    if (!type.is_null() && type != "custom") {
      return tl::unexpected(
          Bad(at + ".type", "must be custom: this server has no tools of its own"));
    }
    SLIP_ASSIGN_OR_RETURN(const std::string name, StringOf(tool, "name", at));
    Json function = {{"name", name}};
    if (tool.contains("description")) function["description"] = tool["description"];
    function["parameters"] = tool.value("input_schema", Json::object());
    if (tool.contains("strict")) function["strict"] = tool["strict"];
    (*chat)["tools"].push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  const Json choice = body.value("tool_choice", Json());
  if (choice.is_null() || tools.empty()) return {};
  if (!choice.is_object()) return tl::unexpected(Bad("tool_choice", "must be an object"));
  SLIP_ASSIGN_OR_RETURN(const std::string type, StringOf(choice, "type", "tool_choice"));
  if (type == "tool") {
    SLIP_ASSIGN_OR_RETURN(const std::string name, StringOf(choice, "name", "tool_choice"));
    (*chat)["tool_choice"] = {{"type", "function"}, {"function", {{"name", name}}}};
  } else if (type == "auto" || type == "none" || type == "any") {
    (*chat)["tool_choice"] = type == "any" ? "required" : type;
  } else {
    return tl::unexpected(Bad("tool_choice.type", "must be auto, any, tool or none"));
  }
  if (choice.value("disable_parallel_tool_use", Json()) == true) {
    (*chat)["parallel_tool_calls"] = false;
  }
  return {};
}

// The form of the answer: output_config.format, or output_format as clients first had it.
Status ReadOutput(FieldReader& reader, Json* chat) {
  const Json* format = reader.Object("output_format");
  std::string at = "output_format";
  const Json* config = reader.Object("output_config");
  SLIP_RETURN_IF_ERROR(reader.status());
  if (config != nullptr && config->contains("effort")) {
    (*chat)["reasoning_effort"] = (*config)["effort"];
  }
  if (config != nullptr && !config->value("format", Json()).is_null()) {
    format = &(*config)["format"];
    at = "output_config.format";
  }
  if (format == nullptr) return {};
  if (!format->is_object() || format->value("type", Json()) != "json_schema") {
    return tl::unexpected(Bad(at + ".type", "must be json_schema"));
  }
  const Json schema = format->value("schema", Json());
  if (!schema.is_object()) return tl::unexpected(Bad(at + ".schema", "must be an object"));
  (*chat)["response_format"] = {
      {"type", "json_schema"},
      {"json_schema", {{"name", "output"}, {"schema", schema}, {"strict", true}}}};
  return {};
}

void ReadThinking(FieldReader& reader, Json* chat) {
  const Json* thinking = reader.Object("thinking");
  if (thinking == nullptr) return;
  (*chat)["include_reasoning"] = thinking->value("type", Json()) != "disabled";
  const auto budget = thinking->find("budget_tokens");
  if (budget != thinking->end()) (*chat)["thinking_token_budget"] = *budget;
}

}  // namespace

Result<Json> ChatOfMessages(const Json& body, bool needs_limit) {
  FieldReader reader(body, "");
  const auto limit = reader.Integer("max_tokens", 1, 2147483647);
  if (needs_limit && !limit) reader.Reject("max_tokens", "is required");
  if (!reader.String("model")) reader.Reject("model", "is required");
  const Json* messages = reader.Array("messages");
  if (messages == nullptr) reader.Reject("messages", "is required");
  const Json* stops = reader.Array("stop_sequences");
  const Json* system = reader.Any("system");
  reader.Number("temperature", 0, 1);  // a narrower range than the chat's
  Json chat = Json::object();
  ReadThinking(reader, &chat);
  SLIP_RETURN_IF_ERROR(ReadOutput(reader, &chat));
  for (const char* name : {"model", "stream", "temperature", "top_p", "top_k", "metadata",
                           "service_tier", "priority", "timeout_seconds"}) {
    if (const Json* value = reader.Any(name)) chat[name] = *value;
  }
  SLIP_RETURN_IF_ERROR(reader.status());
  if (limit) chat["max_tokens"] = *limit;
  if (stops != nullptr) chat["stop"] = *stops;
  Json& out = chat["messages"] = Json::array();
  if (system != nullptr) {
    SLIP_ASSIGN_OR_RETURN(const std::string text, TextOf(*system, "system"));
    out.push_back({{"role", "system"}, {"content", text}});
  }
  if (messages->empty()) return tl::unexpected(Bad("messages", "is empty"));
  for (size_t i = 0; i < messages->size(); ++i) {
    SLIP_RETURN_IF_ERROR(ReadMessage((*messages)[i], fmt::format("messages.{}", i), &out));
  }
  const Json& last = out.back();
  if (last["role"] == "assistant" && !last.contains("tool_calls") && last["content"] != "") {
    // The answer is to go on with what was put into the model's mouth.
    chat["continue_final_message"] = true;
    chat["add_generation_prompt"] = false;
  }
  for (const char* name : {"tools", "tool_choice"}) reader.Any(name);
  SLIP_RETURN_IF_ERROR(ReadTools(body, &chat));
  // What nobody knows stays, so that it is told of or refused as an ignored field.
  for (const std::string& name : reader.Unread()) {
    if (!chat.contains(name)) chat["ignored." + name] = body[name];
  }
  return chat;
}

}  // namespace slipstream
