// Messages of a chat request, checked and brought to the form that chat templates expect:
// content as one string, roles as templates know them, tool-call arguments as objects.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "server/openai/chat_render.h"
#include "server/openai/chat_tools.h"

namespace slipstream {
namespace {

constexpr std::array<std::string_view, 6> kRoles = {"system",    "developer", "user",
                                                    "assistant", "tool",      "function"};

// One string of a list of parts; anything but text cannot be shown to this model.
Result<std::string> JoinParts(const Json& parts, const std::string& where) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", where, i);
    const Json& part = parts[i];
    if (part.is_string()) {
      text += (i > 0 ? "\n" : "") + part.get_ref<const std::string&>();
      continue;
    }
    if (!part.is_object()) return InvalidArgument(at + " must be an object with a type", at);
    FieldReader reader(part, at + ".");
    // Some clients leave the type out, or use the words of /v1/responses.
    const std::string type = reader.String("type").value_or(part.contains("text") ? "text" : "");
    const bool is_text = type == "text" || type == "input_text" || type == "output_text";
    if (!is_text && type != "refusal") {
      SLIP_RETURN_IF_ERROR(reader.status());
      return InvalidArgument(fmt::format("{}.type must be \"text\": this model takes no other "
                                         "content",
                                         at),
                             at + ".type");
    }
    const char* name = is_text ? "text" : "refusal";
    const auto value = reader.String(name);
    SLIP_RETURN_IF_ERROR(reader.status());
    if (!value) return InvalidArgument(fmt::format("{}.{} is required", at, name), at);
    text += (i > 0 ? "\n" : "") + *value;
  }
  return text;
}

Result<Json> NormalizeToolCalls(const Json& calls, const std::string& where) {
  Json out = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", where, i);
    if (!calls[i].is_object()) return InvalidArgument(at + " must be an object", at);
    Json call = calls[i];
    const auto function = call.find("function");
    if (function == call.end() || !function->is_object()) {
      return InvalidArgument(at + ".function must be an object", at + ".function");
    }
    FieldReader reader(*function, at + ".function.");
    const auto name = reader.String("name");
    SLIP_RETURN_IF_ERROR(reader.status());
    if (!name) return InvalidArgument(at + ".function.name is required", at + ".function.name");
    // The API has arguments as a string of JSON, templates print the value itself.
    const auto arguments = function->find("arguments");
    if (arguments != function->end() && arguments->is_string()) {
      auto parsed = ParseJsonObject(arguments->get_ref<const std::string&>());
      if (parsed) *arguments = std::move(*parsed);
    }
    if (arguments == function->end() || arguments->is_null()) {
      (*function)["arguments"] = Json::object();
    }
    if (!call.contains("type")) call["type"] = "function";
    out.push_back(std::move(call));
  }
  return out;
}

Result<Json> NormalizeMessage(const Json& message, const std::string& where,
                              std::vector<std::string>* ignored) {
  if (!message.is_object()) return InvalidArgument(where + " must be an object", where);
  FieldReader reader(message, where + ".");
  Json out = Json::object();
  const auto role = reader.String("role");
  SLIP_RETURN_IF_ERROR(reader.status());
  if (!role) return InvalidArgument(where + ".role is required", where + ".role");
  if (std::find(kRoles.begin(), kRoles.end(), *role) == kRoles.end()) {
    return InvalidArgument(
        fmt::format("{}.role must be system, developer, user, assistant or tool, not {}", where,
                    Shown(Json(*role))),
        where + ".role");
  }
  out["role"] = *role == "developer" ? "system" : *role == "function" ? "tool" : *role;

  const Json* calls = reader.Array("tool_calls");
  const Json* content = reader.Any("content");
  if (content != nullptr && content->is_array()) {
    SLIP_ASSIGN_OR_RETURN(out["content"], JoinParts(*content, where + ".content"));
  } else if (content != nullptr && content->is_string()) {
    out["content"] = *content;
  } else if (content != nullptr) {
    return InvalidArgument(
        where + ".content must be a string or an array of parts, not " + Shown(*content),
        where + ".content");
  } else if (*role == "assistant") {
    out["content"] = "";  // it called tools, or did not get beyond its reasoning
  } else {
    return InvalidArgument(where + ".content is required", where + ".content");
  }
  if (calls != nullptr && !calls->empty()) {
    SLIP_ASSIGN_OR_RETURN(out["tool_calls"], NormalizeToolCalls(*calls, where + ".tool_calls"));
  }
  for (const char* name : {"name", "tool_call_id"}) {
    if (auto value = reader.String(name)) out[name] = *value;
  }
  // Two names for the same thing are in use; templates know one or the other.
  auto reasoning = reader.String("reasoning_content");
  if (!reasoning) reasoning = reader.String("reasoning");
  if (reasoning) out["reasoning_content"] = out["reasoning"] = *reasoning;
  SLIP_RETURN_IF_ERROR(reader.status());
  // Parts of an answer that clients send back as they got it.
  for (const char* name : {"refusal", "annotations"}) reader.Any(name);
  for (std::string& name : reader.Unread()) ignored->push_back(std::move(name));
  return out;
}

Result<Json> NormalizeMessages(const Json& messages, std::vector<std::string>* ignored) {
  Json out = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    SLIP_ASSIGN_OR_RETURN(Json message,
                          NormalizeMessage(messages[i], fmt::format("messages[{}]", i), ignored));
    out.push_back(std::move(message));
  }
  return out;
}

}  // namespace

Result<ChatInput> ReadChatInput(FieldReader& reader) {
  ChatInput input;
  const Json* messages = reader.Array("messages");
  if (messages == nullptr) reader.Reject("messages", "is required");
  SLIP_RETURN_IF_ERROR(reader.status());
  if (messages->empty()) return InvalidArgument("messages is empty", "messages");
  SLIP_ASSIGN_OR_RETURN(input.messages, NormalizeMessages(*messages, &input.ignored_fields));
  SLIP_RETURN_IF_ERROR(ReadTools(reader, &input));
  input.add_generation_prompt = reader.Bool("add_generation_prompt").value_or(true);
  input.continue_final_message = reader.Bool("continue_final_message").value_or(false);
  if (const Json* extra = reader.Object("chat_template_kwargs")) input.extra = *extra;
  SLIP_RETURN_IF_ERROR(reader.status());
  return input;
}

}  // namespace slipstream
