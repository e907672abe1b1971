// Answers of /v1/chat/completions, whole or streamed: the text of each choice goes through an
// OutputParser, whose events become content, reasoning and tool calls. Loop thread only; created
// per request.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/openai/chat_tools.h"
#include "server/openai/responder.h"
#include "server/parsing/output_forms.h"

namespace slipstream {

struct ChatAnswerOptions {
  OutputForms forms;
  ToolChoice tools;
  std::shared_ptr<const Json> schemas;  // the tools as the client sent them
  std::string opening;                  // of a call, which the prompt ends with
  bool include_reasoning = true;        // false: it is counted and dropped
  // Set by the tokenizer thread before anything is delivered.
  std::shared_ptr<const bool> starts_in_reasoning;
};

class ChatResponder : public Responder {
 public:
  ChatResponder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options,
                ChatAnswerOptions answer, int num_choices);

 protected:
  struct Call {
    std::string id, name, arguments;
  };
  struct Choice {
    std::unique_ptr<OutputParser> parser;  // null: all text is content
    std::string text, reasoning, logprobs;
    std::vector<Call> calls;
    std::vector<int32_t> ids;  // for return_token_ids
    std::string tail;          // of the finished object: finish and stop reasons
  };

  void AppendChunks(std::string* out, const ChoiceDelta& delta) override;
  const std::string& chunk_head() const override { return head_; }
  void Collect(const ChoiceDelta& delta) override;
  std::string WholeBody(const GenerationUsage& usage) const override;
  int64_t num_reasoning_tokens() const override { return num_reasoning_tokens_; }

  // Fills events_ with what the delta adds, and the choice with what must be known at its end.
  void Parse(Choice* choice, const ChoiceDelta& delta);
  void Keep(Choice* choice);
  bool StoppedInCall(const Choice& choice, const ChoiceDelta& delta) const;
  // Whether the delta ends a forced call where the server wanted it to end.
  bool IsOurStop(const ChoiceDelta& delta) const;
  void NotePrompt(const ChoiceDelta& delta);

  void OpenChunk(std::string* out, int index) const;
  void AppendEvent(std::string* out, const Choice& choice, const OutputEvent& event) const;
  void AppendLogprobs(std::string* out, const ChoiceDelta* delta) const;
  void AppendEnd(std::string* out, const Choice& choice, const ChoiceDelta& delta) const;
  void AppendMessage(std::string* out, const Choice& choice) const;
  static void AppendReasoning(std::string* out, std::string_view text);

  const ChatAnswerOptions answer_;
  std::string head_, whole_head_;
  std::string prompt_fields_;  // token ids and log probabilities of the prompt, if asked for
  std::vector<Choice> choices_;
  OutputEvents events_;  // of the delta in hand
  int64_t num_reasoning_tokens_ = 0;
};

}  // namespace slipstream
