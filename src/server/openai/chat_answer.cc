#include "server/openai/chat_answer.h"

#include <algorithm>
#include <utility>

#include "server/json_text.h"
#include "server/openai/logprobs.h"
#include "server/parsing/json_scanner.h"

namespace slipstream {

using Kind = OutputEvent::Kind;
using Mode = ToolChoice::Mode;

ChatResponder::ChatResponder(Service& service, std::shared_ptr<Exchange> exchange,
                             ResponseOptions options, ChatAnswerOptions answer, int num_choices)
    : Responder(service, std::move(exchange), std::move(options)),
      answer_(std::move(answer)),
      choices_(num_choices) {
  head_ = "data: " + ObjectHead("chat.completion.chunk");
  whole_head_ = ObjectHead("chat.completion");
}

void ChatResponder::Parse(Choice* choice, const ChoiceDelta& delta) {
  events_.clear();
  const bool has_tools =
      answer_.tools.mode != Mode::kNone && answer_.forms.tools != ToolForm::kNone;
  if (delta.first && (has_tools || answer_.forms.reasons())) {
    const auto is_text = [schemas = answer_.schemas](const std::string& function,
                                                     const std::string& parameter) {
      return schemas != nullptr && TakesText(*schemas, function, parameter);
    };
    choice->parser = MakeOutputParser(
        answer_.forms, {.tools = has_tools,
                        .names = answer_.tools.names,
                        .known_names_only = answer_.tools.forced(),
                        .parallel = answer_.tools.parallel && answer_.tools.mode != Mode::kNamed,
                        .is_text = is_text,
                        .starts_in_reasoning = *answer_.starts_in_reasoning});
    choice->parser->Feed(answer_.opening, &events_);
  }
  if (choice->parser == nullptr) {
    events_.Add(Kind::kContent, delta.text);
    return;
  }
  OutputParser& parser = *choice->parser;
  const bool reasoned = parser.in_reasoning();
  parser.Feed(delta.text, &events_);
  if (delta.token != nullptr && (reasoned || parser.in_reasoning())) ++num_reasoning_tokens_;
  if (delta.finish != FinishReason::kNone) parser.Finish(&events_);
  std::erase_if(events_.list(), [&](const OutputEvent& event) {
    // What is no call was the beginning of one, of which the prompt has a part.
    return (event.kind == Kind::kReasoning && !answer_.include_reasoning) ||
           (event.kind == Kind::kContent && answer_.tools.forced());
  });
  for (const OutputEvent& event : events_.list()) {
    if (event.kind == Kind::kCallBegin) {
      choice->calls.push_back({NewCallId(answer_.forms.tools), event.text, ""});
    } else if (event.kind == Kind::kArguments) {
      choice->calls.back().arguments += event.text;
    }
  }
}

// Whether the client's own stop cut the answer within a call; not so for the end of a named one.
bool ChatResponder::StoppedInCall(const Choice& choice, const ChoiceDelta& delta) const {
  return delta.stop_string != nullptr && !IsOurStop(delta) && !choice.calls.empty() &&
         !IsJsonObject(choice.calls.back().arguments);
}

bool ChatResponder::IsOurStop(const ChoiceDelta& delta) const {
  return answer_.tools.forced() && delta.stop_string != nullptr &&
         *delta.stop_string == EndOfCall(answer_.forms.tools);
}

void ChatResponder::NotePrompt(const ChoiceDelta& delta) {
  if (!prompt_fields_.empty()) return;  // all choices have the same
  if (options_.return_token_ids) {
    prompt_fields_ = ",\"prompt_token_ids\":";
    AppendIds(&prompt_fields_, *delta.prompt_ids);
  }
  if (options_.num_prompt_logprobs >= 0) {
    prompt_fields_ += ",\"prompt_logprobs\":";
    AppendPromptLogprobs(&prompt_fields_, *service_.tokenizer(), *delta.prompt_logprobs,
                         options_.num_prompt_logprobs);
  }
}

void ChatResponder::AppendChunks(std::string* out, const ChoiceDelta& delta) {
  Choice& choice = choices_[delta.index];
  if (delta.first) {
    OpenChunk(out, delta.index);
    out->append("\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,");
    out->append("\"finish_reason\":null}]");
    NotePrompt(delta);
    if (delta.index == 0) out->append(prompt_fields_);
    CloseChunk(out);
  }
  Parse(&choice, delta);
  const std::vector<OutputEvent>& events = events_.list();
  const bool finished = delta.finish != FinishReason::kNone;
  const bool has_token = delta.token != nullptr;
  const bool shows_token = has_token && (options_.num_logprobs >= 0 || options_.return_token_ids);
  if (events.empty() && !finished && !shows_token) return;
  const size_t num_chunks = std::max<size_t>(events.size(), 1);
  for (size_t i = 0; i < num_chunks; ++i) {
    OpenChunk(out, delta.index);
    if (i < events.size()) AppendEvent(out, choice, events[i]);
    out->append("},\"logprobs\":");
    AppendLogprobs(out, i == 0 ? &delta : nullptr);
    if (i + 1 == num_chunks) {
      AppendEnd(out, choice, delta);
    } else {
      out->append(",\"finish_reason\":null");
    }
    if (options_.return_token_ids) {
      AppendTokenId(out, i == 0 ? delta : ChoiceDelta());
    }
    out->append("}]");
    CloseChunk(out);
  }
}

void ChatResponder::OpenChunk(std::string* out, int index) const {
  out->append(head_).append("[{\"index\":");
  AppendInt(out, index);
  out->append(",\"delta\":{");
}

void ChatResponder::AppendEvent(std::string* out, const Choice& choice,
                                const OutputEvent& event) const {
  switch (event.kind) {
    case Kind::kContent:
      out->append("\"content\":");
      return AppendJsonString(out, event.text);
    case Kind::kReasoning:
      return AppendReasoning(out, event.text);
    case Kind::kCallBegin:
      out->append("\"tool_calls\":[{\"index\":");
      AppendInt(out, event.call);
      out->append(",\"id\":\"").append(choice.calls[event.call].id);
      out->append("\",\"type\":\"function\",\"function\":{\"name\":");
      AppendJsonString(out, event.text);
      out->append(",\"arguments\":\"\"}}]");
      return;
    case Kind::kArguments:
      out->append("\"tool_calls\":[{\"index\":");
      AppendInt(out, event.call);
      out->append(",\"function\":{\"arguments\":");
      AppendJsonString(out, event.text);
      out->append("}}]");
  }
}

// Two names for the same thing are in use; clients know one or the other.
void ChatResponder::AppendReasoning(std::string* out, std::string_view text) {
  std::string quoted;
  AppendJsonString(&quoted, text);
  out->append("\"reasoning_content\":").append(quoted);
  out->append(",\"reasoning\":").append(quoted);
}

void ChatResponder::AppendLogprobs(std::string* out, const ChoiceDelta* delta) const {
  if (options_.num_logprobs < 0 || delta == nullptr || delta->token == nullptr) {
    out->append("null");
    return;
  }
  out->append("{\"content\":[");
  AppendChatLogprob(out, *service_.tokenizer(), *delta->token, options_.num_logprobs);
  out->append("],\"refusal\":null}");
}

void ChatResponder::AppendEnd(std::string* out, const Choice& choice,
                              const ChoiceDelta& delta) const {
  out->append(",\"finish_reason\":");
  // The API ends an answer that had to be this call like any other.
  const bool called =
      !choice.calls.empty() && answer_.tools.mode != Mode::kNamed && !StoppedInCall(choice, delta);
  AppendFinishReason(out, delta.finish, called);
  if (delta.finish == FinishReason::kNone) return;
  out->append(",\"stop_reason\":");
  if (IsOurStop(delta)) {
    out->append("null");
  } else {
    AppendStopReason(out, delta);
  }
}

void ChatResponder::Keep(Choice* choice) {
  for (const OutputEvent& event : events_.list()) {
    if (event.kind == Kind::kContent) choice->text += event.text;
    if (event.kind == Kind::kReasoning) choice->reasoning += event.text;
  }
}

void ChatResponder::Collect(const ChoiceDelta& delta) {
  Choice& choice = choices_[delta.index];
  if (delta.first) NotePrompt(delta);
  Parse(&choice, delta);
  Keep(&choice);
  if (options_.num_logprobs >= 0 && delta.token != nullptr) {
    if (!choice.logprobs.empty()) choice.logprobs += ',';
    AppendChatLogprob(&choice.logprobs, *service_.tokenizer(), *delta.token, options_.num_logprobs);
  }
  if (options_.return_token_ids && delta.token != nullptr) {
    choice.ids.push_back(delta.token->token);
  }
  if (delta.finish != FinishReason::kNone) AppendEnd(&choice.tail, choice, delta);
}

void ChatResponder::AppendMessage(std::string* out, const Choice& choice) const {
  out->append("{\"role\":\"assistant\",\"content\":");
  if (choice.text.empty() && !choice.calls.empty()) {
    out->append("null");
  } else {
    AppendJsonString(out, choice.text);
  }
  out->append(",\"refusal\":null");
  if (!choice.reasoning.empty()) {
    out->push_back(',');
    AppendReasoning(out, choice.reasoning);
  }
  if (!choice.calls.empty()) out->append(",\"tool_calls\":[");
  for (const Call& call : choice.calls) {
    if (&call != &choice.calls.front()) out->push_back(',');
    out->append("{\"id\":\"").append(call.id);
    out->append("\",\"type\":\"function\",\"function\":{\"name\":");
    AppendJsonString(out, call.name);
    out->append(",\"arguments\":");
    AppendJsonString(out, call.arguments);
    out->append("}}");
  }
  if (!choice.calls.empty()) out->push_back(']');
  out->push_back('}');
}

std::string ChatResponder::WholeBody(const GenerationUsage& usage) const {
  std::string out = whole_head_ + "[";
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    if (i > 0) out += ',';
    out += "{\"index\":";
    AppendInt(&out, static_cast<long long>(i));
    out += ",\"message\":";
    AppendMessage(&out, choice);
    out += ",\"logprobs\":";
    if (options_.num_logprobs >= 0) {
      out.append("{\"content\":[").append(choice.logprobs).append("],\"refusal\":null}");
    } else {
      out += "null";
    }
    out += choice.tail;
    if (options_.return_token_ids) {
      out += ",\"token_ids\":";
      AppendIds(&out, choice.ids);
    }
    out += '}';
  }
  out += ']';
  out += prompt_fields_;
  out += ",\"usage\":";
  AppendUsage(&out, usage, num_reasoning_tokens_);
  out += '}';
  return out;
}

}  // namespace slipstream
