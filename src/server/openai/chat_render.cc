#include "server/openai/chat_render.h"

#include <utility>

#include "tokenizer/chat_template.h"

namespace slipstream {
namespace {

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
  if (!rendered) {
    if (rendered.error().param.empty()) rendered.error().param = "messages";
    return tl::unexpected(std::move(rendered).error());
  }
  if (input.continue_final_message) {
    return CutAfterFinalMessage(std::move(*rendered), input.messages);
  }
  return std::move(*rendered);
}

}  // namespace slipstream
