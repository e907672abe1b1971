// A chat as its template takes it. Values; any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/generation.h"
#include "server/openai/chat_tools.h"
#include "server/openai/field_reader.h"
#include "server/parsing/output_forms.h"

namespace slipstream {

class ChatTemplate;
class Tokenizer;

struct ChatInput {
  Json messages;  // normalized
  Json tools;     // null: none
  ToolChoice tool_choice;
  Json extra = Json::object();  // chat_template_kwargs
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  std::vector<std::string> ignored_fields;  // of messages
};

// Reads messages, tools and template options; the first bad field is the error.
Result<ChatInput> ReadChatInput(FieldReader& reader);

// kInvalidArgument when the template refuses the conversation or there is no template.
Result<std::string> RenderChatInput(const std::shared_ptr<const ChatTemplate>& chat_template,
                                    const ChatInput& input);

// What the answer is to begin with, and how long it may reason.
struct AnswerStart {
  OutputForms forms;
  std::string opening;                // of a tool call, after the prompt
  int64_t max_reasoning_tokens = -1;  // -1: no limit
  bool constrained = false;           // a grammar rules the answer, behind its reasoning
};

// Puts the start of the answer behind a rendered chat. `in_reasoning` tells whether the answer
// begins within reasoning. Fails when the model's end of reasoning cannot be forced.
Result<RenderedChat> StartAnswer(std::string rendered, const AnswerStart& start,
                                 const Tokenizer& tokenizer, bool* in_reasoning);

}  // namespace slipstream
