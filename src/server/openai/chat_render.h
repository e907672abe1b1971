// A chat as its template takes it. Values; any thread.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "server/openai/field_reader.h"

namespace slipstream {

class ChatTemplate;

struct ChatInput {
  Json messages;                // normalized
  Json tools;                   // null: none
  Json extra = Json::object();  // chat_template_kwargs
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

// Reads messages, tools and template options; the first bad field is the error.
Result<ChatInput> ReadChatInput(FieldReader& reader);

// kInvalidArgument when the template refuses the conversation or there is no template.
Result<std::string> RenderChatInput(const std::shared_ptr<const ChatTemplate>& chat_template,
                                    const ChatInput& input);

}  // namespace slipstream
