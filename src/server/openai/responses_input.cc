#include "server/openai/responses_input.h"

#include <fmt/core.h>

#include <utility>

namespace slipstream {
namespace {

Error Bad(const std::string& at, const std::string& why) {
  return {ErrorCode::kInvalidArgument, at + " " + why, at};
}

Result<std::string> StringOf(const Json& object, const char* name, const std::string& at) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) {
    return tl::unexpected(Bad(at + "." + name, "must be a string"));
  }
  return found->get<std::string>();
}

// Text of a string or of a list of parts.
Result<std::string> TextOf(const Json& content, const std::string& at) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return tl::unexpected(Bad(at, "must be a string or an array of parts"));
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string here = fmt::format("{}[{}]", at, i);
    const Json& part = content[i];
    if (!part.is_object()) return tl::unexpected(Bad(here, "must be an object"));
    SLIP_ASSIGN_OR_RETURN(const std::string type, StringOf(part, "type", here));
    if (type != "input_text" && type != "output_text" && type != "text" && type != "refusal" &&
        type != "reasoning_text" && type != "summary_text") {
      return tl::unexpected(Bad(here + ".type", "must be text: this model takes no other content"));
    }
    SLIP_ASSIGN_OR_RETURN(const std::string piece,
                          StringOf(part, type == "refusal" ? "refusal" : "text", here));
    text += (text.empty() ? "" : "\n") + piece;
  }
  return text;
}

class ItemReader {
 public:
  explicit ItemReader(Json* messages) : messages_(*messages) {}

  Status Read(const Json& item, const std::string& at) {
    if (!item.is_object()) return tl::unexpected(Bad(at, "must be an object"));
    std::string type = "message";
    if (item.contains("type")) {
      SLIP_ASSIGN_OR_RETURN(type, StringOf(item, "type", at));
    }
    if (type == "message") return ReadMessage(item, at);
    if (type == "function_call") return ReadCall(item, at);
    if (type == "function_call_output") return ReadOutput(item, at);
    if (type == "reasoning") return ReadReasoning(item, at);
    return tl::unexpected(Bad(at + ".type",
                              "must be message, function_call, function_call_output "
                              "or reasoning, not " +
                                  Shown(Json(type))));
  }

 private:
  Status ReadMessage(const Json& item, const std::string& at) {
    SLIP_ASSIGN_OR_RETURN(const std::string role, StringOf(item, "role", at));
    if (role != "user" && role != "assistant" && role != "system" && role != "developer") {
      return tl::unexpected(Bad(at + ".role", "must be user, assistant, system or developer"));
    }
    SLIP_ASSIGN_OR_RETURN(const std::string text,
                          TextOf(item.value("content", Json()), at + ".content"));
    Json message = {{"role", role}, {"content", text}};
    if (role == "assistant") AddReasoning(&message);
    messages_.push_back(std::move(message));
    return {};
  }

  // The items of one turn are one message to chat templates.
  Status ReadCall(const Json& item, const std::string& at) {
    SLIP_ASSIGN_OR_RETURN(const std::string id, StringOf(item, "call_id", at));
    SLIP_ASSIGN_OR_RETURN(const std::string name, StringOf(item, "name", at));
    SLIP_ASSIGN_OR_RETURN(const std::string arguments, StringOf(item, "arguments", at));
    if (messages_.empty() || messages_.back()["role"] != "assistant" || !reasoning_.empty()) {
      Json message = {{"role", "assistant"}, {"content", ""}};
      AddReasoning(&message);
      messages_.push_back(std::move(message));
    }
    messages_.back()["tool_calls"].push_back(
        {{"id", id},
         {"type", "function"},
         {"function", {{"name", name}, {"arguments", arguments}}}});
    return {};
  }

  Status ReadOutput(const Json& item, const std::string& at) {
    SLIP_ASSIGN_OR_RETURN(const std::string id, StringOf(item, "call_id", at));
    SLIP_ASSIGN_OR_RETURN(const std::string text,
                          TextOf(item.value("output", Json()), at + ".output"));
    messages_.push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", text}});
    return {};
  }

  Status ReadReasoning(const Json& item, const std::string& at) {
    const Json content = item.value("content", Json());
    if (content.is_null()) return {};
    SLIP_ASSIGN_OR_RETURN(reasoning_, TextOf(content, at + ".content"));
    return {};
  }

  void AddReasoning(Json* message) {
    if (!reasoning_.empty()) (*message)["reasoning_content"] = std::exchange(reasoning_, "");
  }

  Json& messages_;
  std::string reasoning_;  // of the next message
};

Status ReadItems(const Json& input, Json* messages) {
  if (input.is_string()) {
    messages->push_back({{"role", "user"}, {"content", input}});
    return {};
  }
  if (!input.is_array()) {
    return tl::unexpected(Bad("input", "must be a string or an array of items"));
  }
  ItemReader reader(messages);
  for (size_t i = 0; i < input.size(); ++i) {
    SLIP_RETURN_IF_ERROR(reader.Read(input[i], fmt::format("input[{}]", i)));
  }
  return {};
}

// {"type":"function","name":...} as chats have it.
Json NestedFunction(const Json& flat) {
  if (!flat.is_object() || flat.value("type", Json()) != "function") return flat;
  return {{"type", "function"}, {"function", {{"name", flat.value("name", Json())}}}};
}

Json ChatToolChoice(const Json& choice) {
  if (!choice.is_object() || choice.value("type", Json()) != "allowed_tools") {
    return NestedFunction(choice);
  }
  Json allowed = {{"mode", choice.value("mode", Json())}, {"tools", choice.value("tools", Json())}};
  if (allowed["tools"].is_array()) {
    for (Json& tool : allowed["tools"]) tool = NestedFunction(tool);
  }
  return {{"type", "allowed_tools"}, {"allowed_tools", std::move(allowed)}};
}

Status ReadToolFields(const Json& body, Json* chat) {
  const Json tools = body.value("tools", Json());
  if (!tools.is_null() && !tools.is_array()) {
    return tl::unexpected(Bad("tools", "must be an array"));
  }
  Json functions = Json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string at = fmt::format("tools[{}]", i);
    if (!tools[i].is_object() || tools[i].value("type", Json()) != "function") {
      return tl::unexpected(Bad(at + ".type",
                                "must be \"function\": this server has no tools of "
                                "its own"));
    }
    Json function = tools[i];
    function.erase("type");
    functions.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  Json choice = body.value("tool_choice", Json());
  choice = ChatToolChoice(choice);
  if (!functions.empty()) (*chat)["tools"] = std::move(functions);
  const bool idle = tools.empty() && choice == "auto";
  if (!choice.is_null() && !idle) (*chat)["tool_choice"] = std::move(choice);
  return {};
}

Status ReadText(FieldReader& reader, Json* chat, Json* echo) {
  (*echo)["text"] = {{"format", {{"type", "text"}}}};
  const Json* text = reader.Object("text");
  if (text == nullptr) return reader.status();
  const Json format = text->value("format", Json());
  if (format.is_null()) return {};
  if (!format.is_object()) return tl::unexpected(Bad("text.format", "must be an object"));
  (*echo)["text"] = *text;
  if (format.value("type", Json()) != "json_schema") {
    (*chat)["response_format"] = format;
    return {};
  }
  Json wrapped = format;
  wrapped.erase("type");
  (*chat)["response_format"] = {{"type", "json_schema"}, {"json_schema", std::move(wrapped)}};
  return {};
}

// Fields that are refused unless they ask for what happens anyway.
Status CheckUnsupported(FieldReader& reader) {
  if (reader.Bool("background").value_or(false)) reader.Reject("background", "is not supported");
  for (const char* name :
       {"conversation", "prompt", "messages", "n", "best_of", "max_tokens", "max_completion_tokens",
        "logprobs", "prompt_logprobs", "response_format", "add_generation_prompt",
        "continue_final_message", "return_token_ids"}) {
    if (reader.Any(name) != nullptr) reader.Reject(name, "is not supported by this endpoint");
  }
  return reader.status();
}

// What else the response is to have; of all that may be named only this is known here.
void ReadInclude(FieldReader& reader, Json* chat) {
  bool logprobs = reader.Integer("top_logprobs", 0, 20).value_or(0) > 0;
  if (const Json* include = reader.Array("include")) {
    for (const Json& name : *include) {
      if (!name.is_string()) return reader.Reject("include", "must be an array of strings");
      logprobs = logprobs || name == "message.output_text.logprobs";
    }
  }
  if (logprobs) (*chat)["logprobs"] = true;
}

void FillEcho(const Json& body, Json* echo) {
  const auto put = [&](const char* name, Json absent) {
    const auto found = body.find(name);
    (*echo)[name] = found == body.end() || found->is_null() ? std::move(absent) : *found;
  };
  for (const char* name : {"instructions", "max_output_tokens", "max_tool_calls",
                           "previous_response_id", "user", "safety_identifier"}) {
    put(name, nullptr);
  }
  put("metadata", Json::object());
  put("parallel_tool_calls", true);
  put("reasoning", {{"effort", nullptr}, {"summary", nullptr}});
  put("store", true);
  put("temperature", 1.0);
  put("tool_choice", "auto");
  put("tools", Json::array());
  put("top_logprobs", 0);
  put("top_p", 1.0);
  put("truncation", "disabled");
}

}  // namespace

Result<ResponsesInput> ReadResponsesInput(const Json& body) {
  ResponsesInput input;
  FieldReader reader(body, "");
  const Json* items = reader.Any("input");
  if (items == nullptr) reader.Reject("input", "is required");
  const auto instructions = reader.String("instructions");
  const auto limit = reader.Integer("max_output_tokens", 1, 2147483647);
  input.previous = reader.String("previous_response_id");
  input.store = reader.Bool("store").value_or(true);
  const Json* reasoning = reader.Object("reasoning");
  const std::string truncation = reader.String("truncation").value_or("disabled");
  input.drop_oldest = truncation == "auto";
  if (truncation != "auto" && truncation != "disabled") {
    reader.Reject("truncation", "must be \"auto\" or \"disabled\"");
  }
  SLIP_RETURN_IF_ERROR(CheckUnsupported(reader));
  SLIP_RETURN_IF_ERROR(ReadItems(*items, &input.conversation));
  if (input.conversation.empty()) return InvalidArgument("input is empty", "input");

  input.chat = body;
  for (const char* name : {"input", "instructions", "max_output_tokens", "previous_response_id",
                           "store", "background", "truncation", "reasoning", "text", "tools",
                           "tool_choice", "include", "max_tool_calls", "stream_options"}) {
    input.chat.erase(name);
  }
  SLIP_RETURN_IF_ERROR(ReadText(reader, &input.chat, &input.echo));
  SLIP_RETURN_IF_ERROR(ReadToolFields(body, &input.chat));
  ReadInclude(reader, &input.chat);
  SLIP_RETURN_IF_ERROR(reader.status());
  if (limit) input.chat["max_completion_tokens"] = *limit;
  if (reasoning != nullptr && reasoning->contains("effort")) {
    input.chat["reasoning_effort"] = (*reasoning)["effort"];
  }
  FillEcho(body, &input.echo);
  return input;
}

void PutMessages(const Json& previous, ResponsesInput* input) {
  Json all = previous;
  for (Json& message : input->conversation) all.push_back(std::move(message));
  input->conversation = all;
  Json& messages = input->chat["messages"] = Json::array();
  const Json& instructions = input->echo["instructions"];
  if (instructions.is_string()) {
    messages.push_back({{"role", "system"}, {"content", instructions}});
  }
  for (Json& message : all) messages.push_back(std::move(message));
}

}  // namespace slipstream
