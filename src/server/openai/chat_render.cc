#include "server/openai/chat_render.h"

#include <algorithm>
#include <utility>

#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace slipstream {
namespace {

bool HasToolCalls(const Json& messages) {
  return std::any_of(messages.begin(), messages.end(),
                     [](const Json& message) { return message.contains("tool_calls"); });
}

void ArgumentsToText(Json* messages) {
  for (Json& message : *messages) {
    const auto calls = message.find("tool_calls");
    if (calls == message.end()) continue;
    for (Json& call : *calls) {
      Json& arguments = call["function"]["arguments"];
      if (!arguments.is_string()) {
        arguments = arguments.dump(-1, ' ', false, Json::error_handler_t::replace);
      }
    }
  }
}

// The text of the answer that is to be continued, cut from the rendered end of its turn.
Result<std::string> CutAfterFinalMessage(std::string rendered, const Json& messages) {
  const Json& last = messages.back();
  const std::string& content = last["content"].get_ref<const std::string&>();
  if (last["role"] != "assistant" || content.empty()) {
    return InvalidArgument(
        "continue_final_message needs an assistant message with content at the "
        "end of messages",
        "continue_final_message");
  }
  const size_t at = rendered.rfind(content);
  if (at == std::string::npos) {
    return InvalidArgument("the chat template changes the final message, it cannot be continued",
                           "continue_final_message");
  }
  rendered.resize(at + content.size());
  return rendered;
}

}  // namespace

Result<std::string> RenderChatInput(const std::shared_ptr<const ChatTemplate>& chat_template,
                                    const ChatInput& input) {
  if (chat_template == nullptr) {
    return InvalidArgument("this model has no chat template; use /v1/completions", "messages");
  }
  if (input.continue_final_message && input.add_generation_prompt) {
    return InvalidArgument("continue_final_message needs add_generation_prompt: false",
                           "continue_final_message");
  }
  ChatTemplate::Input values;
  values.messages = input.messages;
  values.tools = input.tools;
  values.extra = input.extra;
  values.add_generation_prompt = input.add_generation_prompt;
  auto rendered = chat_template->Render(values);
  if (!rendered && HasToolCalls(input.messages)) {
    // Some templates (DeepSeek's) add arguments to text, which only text can be. Theirs is not the
    // first way: others would print text in quotes.
    ChatTemplate::Input as_text = values;
    as_text.arguments_as_text = true;
    ArgumentsToText(&as_text.messages);
    auto second = chat_template->Render(as_text);
    if (second) rendered = std::move(second);
  }
  if (!rendered) {
    if (rendered.error().param.empty()) rendered.error().param = "messages";
    return tl::unexpected(std::move(rendered).error());
  }
  if (input.continue_final_message) {
    return CutAfterFinalMessage(std::move(*rendered), input.messages);
  }
  return std::move(*rendered);
}

Result<RenderedChat> StartAnswer(std::string rendered, const AnswerStart& start,
                                 const Tokenizer& tokenizer, bool* in_reasoning) {
  const OutputForms& forms = start.forms;
  RenderedChat chat{std::move(rendered), std::nullopt};
  const std::string end = "\n" + forms.think_close + "\n\n";
  bool inside = EndsInReasoning(forms, chat.text);
  if (inside && (!start.opening.empty() || start.max_reasoning_tokens == 0)) {
    chat.text += end;
    inside = false;
  } else if (start.max_reasoning_tokens >= 0) {
    const auto open = tokenizer.FindToken(forms.think_open);
    const auto close = tokenizer.FindToken(forms.think_close);
    if (!close || (!inside && !open)) {
      return InvalidArgument(
          "this model's reasoning has no marks of one token, it cannot be bounded",
          "thinking_token_budget");
    }
    SpanBudget span;
    span.open_token = inside ? -1 : *open;
    span.close_token = *close;
    span.max_tokens = static_cast<int32_t>(start.max_reasoning_tokens);
    SLIP_ASSIGN_OR_RETURN(
        span.forced, tokenizer.Encode(end, {.add_special_tokens = false, .parse_special = true}));
    chat.span_budget = std::move(span);
  }
  if (inside && start.constrained) {
    const auto close = tokenizer.FindToken(forms.think_close);
    if (close) {
      chat.constraint_after = *close;
    } else {  // where the answer would begin cannot be told from one token
      chat.text += end;
      inside = false;
    }
  }
  chat.text += start.opening;
  *in_reasoning = inside;
  return chat;
}

}  // namespace slipstream
