#include "tokenizer/chat_template.h"

#include <ctime>
#include <utility>

#include "tokenizer/content_format.h"
#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/json.h"

namespace slipstream {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxSource = 4 << 20;

bool IsTextPart(const Json& part) {
  return part.is_object() && part.value("type", "") == "text" && part.contains("text") &&
         part["text"].is_string();
}

void JoinTextParts(Json& content) {
  std::string text;
  for (const Json& part : content) {
    if (!IsTextPart(part)) return;
    if (&part != &content.front()) text += '\n';
    text += part["text"].get_ref<const std::string&>();
  }
  content = std::move(text);
}

Status ParseToolArguments(Json& tool_calls) {
  if (!tool_calls.is_array()) return {};
  for (Json& call : tool_calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    Json& function = call["function"];
    const auto arguments = function.find("arguments");
    if (arguments == function.end() || !arguments->is_string()) continue;
    const std::string text = arguments->get<std::string>();
    Json parsed = text.empty() ? Json::object() : Json::parse(text, nullptr, false);
    if (parsed.is_discarded()) {
      return InvalidArgument("tool call arguments are not valid JSON: " + text.substr(0, 200),
                             "messages");
    }
    *arguments = std::move(parsed);
  }
  return {};
}

// The message as the template shall see it (chat_template.h, "Input").
Result<Json> PrepareMessage(const Json& message, bool takes_parts, bool knows_null_content,
                            bool arguments_as_text) {
  if (!message.is_object()) return InvalidArgument("each message must be an object", "messages");
  Json prepared = Json::object();
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null() || key == "content") prepared[key] = value;
  }
  Json& content = prepared["content"];
  if (content.is_null() && !knows_null_content) content = "";
  if (content.is_array() && !takes_parts) JoinTextParts(content);
  const auto calls = prepared.find("tool_calls");
  if (calls != prepared.end() && !arguments_as_text)
    SLIP_RETURN_IF_ERROR(ParseToolArguments(*calls));
  return prepared;
}

tl::unexpected<Error> TemplateError(const jinja::Error& error) {
  return InvalidArgument(error.raised ? error.message : "chat template: " + error.message,
                         "messages");
}

}  // namespace

ChatTemplate::ChatTemplate() = default;
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(std::string source, std::string bos_token,
                                                          std::string eos_token) {
  if (source.size() > kMaxSource) return InvalidArgument("the chat template is larger than 4 MiB");
  std::unique_ptr<ChatTemplate> parsed(new ChatTemplate());
  parsed->source_ = std::move(source);
  parsed->bos_token_ = std::move(bos_token);
  parsed->eos_token_ = std::move(eos_token);
  try {
    parsed->tree_ = std::make_unique<const jinja::Tree>(jinja::ParseTemplate(parsed->source_));
    parsed->takes_parts_ = jinja::LoopsOverContent(*parsed->tree_);
    parsed->knows_null_content_ = jinja::TestsContentForNone(*parsed->tree_);
  } catch (const jinja::Error& error) {
    return InvalidArgument("chat template: " + error.message);
  } catch (const std::exception& error) {
    return InvalidArgument(std::string("chat template: ") + error.what());
  }
  return parsed;
}

Result<std::string> ChatTemplate::Render(const Input& input) const {
  if (!input.messages.is_array()) return InvalidArgument("messages must be a list", "messages");
  Json messages = Json::array();
  for (const Json& message : input.messages) {
    SLIP_ASSIGN_OR_RETURN(Json prepared, PrepareMessage(message, takes_parts_, knows_null_content_,
                                                        input.arguments_as_text));
    messages.push_back(std::move(prepared));
  }
  const auto lookup = [&](const std::string& name, jinja::Value& value) {
    if (input.extra.is_object() && input.extra.contains(name)) {
      value = jinja::FromJson(input.extra[name]);
    } else if (name == "messages") {
      value = jinja::FromJson(messages);
    } else if (name == "tools") {
      value = jinja::FromJson(input.tools);
    } else if (name == "documents") {
      value = jinja::Value();
    } else if (name == "add_generation_prompt") {
      value = jinja::Value::Bool(input.add_generation_prompt);
    } else if (name == "bos_token" || name == "eos_token") {
      value = jinja::Value::Str(name == "bos_token" ? bos_token_ : eos_token_);
    } else {
      return false;
    }
    return true;
  };
  jinja::Budget budget{jinja::Limits{}};
  const jinja::BudgetScope scope(&budget);
  try {
    jinja::Interpreter interpreter(
        *tree_, budget, static_cast<std::time_t>(input.now.value_or(std::time(nullptr))));
    return interpreter.Render(lookup);
  } catch (const jinja::Error& error) {
    return TemplateError(error);
  } catch (const std::exception& error) {  // of the standard library or of the JSON library
    return TemplateError(jinja::Error{error.what(), false});
  }
}

const std::string& DefaultChatTemplate() {
  static const std::string chatml =
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
      "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  return chatml;
}

}  // namespace slipstream
