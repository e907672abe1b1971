// POST /v1/chat/completions.
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/openai/call_grammar.h"
#include "server/openai/chat_render.h"
#include "server/openai/chat_request.h"
#include "server/openai/chat_truncation.h"
#include "server/openai/json_endpoint.h"
#include "server/openai/routes.h"
#include "tokenizer/chat_template.h"

namespace slipstream {
namespace {

constexpr int kMaxTopLogprobs = 20;

void ReadLengths(FieldReader& reader, GenerateRequest* request) {
  constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
  const auto old_name = reader.Integer("max_tokens", 1, kMaxTokens);
  const auto new_name = reader.Integer("max_completion_tokens", 1, kMaxTokens);
  const auto limit = new_name ? new_name : old_name;
  request->max_tokens_is_rest_of_context = !limit;
  request->params.max_tokens = static_cast<int>(limit.value_or(kMaxTokens));
}

void ReadLogprobs(FieldReader& reader, GenerateRequest* request, ResponseOptions* options) {
  const bool wanted = reader.Bool("logprobs").value_or(false);
  const auto top = reader.Integer("top_logprobs", 0, kMaxTopLogprobs);
  if (top.value_or(0) > 0 && !wanted) {
    return reader.Reject("top_logprobs", "needs logprobs: true");
  }
  if (!wanted) return;
  options->num_logprobs = static_cast<int>(top.value_or(0));
  request->params.num_logprobs = options->num_logprobs;
}

// How much the answer may reason; the names of several servers.
std::optional<int64_t> ReadReasoningBudget(FieldReader& reader, const OutputForms& forms) {
  constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
  auto budget = reader.Integer("thinking_token_budget", 0, kMaxTokens);
  const auto other = reader.Integer("thinking_budget", 0, kMaxTokens);
  if (!budget) budget = other;
  if (budget && !forms.reasons()) {
    reader.Reject("thinking_token_budget", "needs a model whose reasoning this server recognizes");
  }
  return budget;
}

// Lets the answer begin as tool_choice wants it, and be nothing but calls.
Status ForceCall(const ChatInput& input, const OutputForms& forms, const Tokenizer& tokenizer,
                 AnswerStart* start, GenerateRequest* request) {
  const ToolChoice& choice = input.tool_choice;
  if (!choice.forced()) {
    // The format is that of content: with one, the answer is no call.
    if (!request->grammar) request->grammar = GrammarOfStrictCalls(input, forms, tokenizer);
    return {};
  }
  if (forms.tools == ToolForm::kNone) {
    return InvalidArgument(
        "tool_choice cannot be forced: the form of this model's tool calls is not known; the "
        "server may be told with --tool-parser",
        "tool_choice");
  }
  if (!input.add_generation_prompt) {
    return InvalidArgument("a forced tool_choice needs add_generation_prompt", "tool_choice");
  }
  // Of a single function the name is known, too.
  start->opening = OpeningOfCall(forms.tools, choice.only_name());
  const std::string_view end = EndOfCall(forms.tools);
  if (choice.single() && !end.empty()) request->stop.emplace_back(end);
  request->grammar = GrammarOfForcedCalls(input, forms, tokenizer);
  return {};
}

// What has an effect only where the model's template knows it; elsewhere it is an ignored field.
void ReadTemplateFields(const Service& service, FieldReader& reader, ChatInput* input) {
  if (service.chat_template() == nullptr) return;
  const std::string& source = service.chat_template()->source();
  const auto knows = [&](const char* name) { return source.find(name) != std::string::npos; };
  if (knows("reasoning_effort")) {
    const auto effort = reader.String("reasoning_effort");
    if (effort && !input->extra.contains("reasoning_effort")) {
      input->extra["reasoning_effort"] = *effort;
    }
  }
  if (!input->tools.is_null() && !knows("tools")) input->ignored_fields.emplace_back("tools");
}

// Special tokens that mark calls and reasoning are text for the parser; others stay hidden.
void ShowMarkers(const Tokenizer& tokenizer, const ChatAnswerOptions& answer,
                 GenerateRequest* request) {
  const bool has_tools = answer.tools.mode != ToolChoice::Mode::kNone;
  for (const std::string& marker : MarkersOf(answer.forms, has_tools)) {
    const auto id = tokenizer.FindToken(marker);
    if (id && tokenizer.IsSpecial(*id)) request->shown_special.push_back(*id);
  }
}

// Of the context, for the conversation: the rest is the answer's, as much as it may have or an
// eighth, and what is put behind the conversation to begin it.
int64_t RoomForChat(const Service& service, const AnswerStart& start,
                    const GenerateRequest& request) {
  constexpr int64_t kPartForAnswer = 8;
  const int64_t context = service.model().max_model_len;
  const int64_t answer =
      request.max_tokens_is_rest_of_context ? context / kPartForAnswer : request.params.max_tokens;
  const size_t behind = start.opening.size() + start.forms.think_close.size() + 3;
  return context - answer - static_cast<int64_t>(behind);
}

// Without `room` the conversation is taken as it is.
void AddPrompt(const Service& service, ChatInput input, AnswerStart start,
               std::optional<int64_t> room, ParsedChat* parsed) {
  auto in_reasoning = std::make_shared<bool>(false);
  parsed->answer.starts_in_reasoning = in_reasoning;
  parsed->request.prompts.emplace_back([chat_template = service.chat_template(),
                                        tokenizer = service.tokenizer(), input = std::move(input),
                                        start = std::move(start), room,
                                        in_reasoning]() -> Result<RenderedChat> {
    SLIP_ASSIGN_OR_RETURN(std::string text,
                          room ? RenderWithin(chat_template, input, *tokenizer, *room)
                               : RenderChatInput(chat_template, input));
    return StartAnswer(std::move(text), start, *tokenizer, in_reasoning.get());
  });
}

}  // namespace

Result<ParsedChat> ParseChatBody(const Service& service, const Json& body, bool drop_oldest) {
  ParsedChat parsed;
  FieldReader reader(body, "");
  ReadCommonFields(reader, service.model(), &parsed.request, &parsed.options);
  ReadLengths(reader, &parsed.request);
  ReadLogprobs(reader, &parsed.request, &parsed.options);
  const auto best_of = reader.Integer("best_of", 1, kMaxChoices);
  if (best_of && *best_of != parsed.request.num_choices) {
    reader.Reject("best_of", "is supported only when equal to n: choices of chats are not ranked");
  }
  const OutputForms& forms = service.output_forms();
  AnswerStart start{.forms = forms,
                    .max_reasoning_tokens = ReadReasoningBudget(reader, forms).value_or(-1)};
  parsed.answer.forms = forms;
  parsed.answer.include_reasoning = reader.Bool("include_reasoning").value_or(true);
  SLIP_RETURN_IF_ERROR(reader.status());
  SLIP_RETURN_IF_ERROR(CheckModel(service, parsed.options.model));
  SLIP_ASSIGN_OR_RETURN(ChatInput input, ReadChatInput(reader));
  ReadTemplateFields(service, reader, &input);
  SLIP_RETURN_IF_ERROR(reader.status());
  parsed.options.ignored_fields.insert(parsed.options.ignored_fields.end(),
                                       input.ignored_fields.begin(), input.ignored_fields.end());
  SLIP_RETURN_IF_ERROR(TakeUnreadFields(service, reader, &parsed.options));
  SLIP_RETURN_IF_ERROR(ForceCall(input, forms, *service.tokenizer(), &start, &parsed.request));
  start.constrained = parsed.request.grammar.has_value();
  parsed.answer.tools = input.tool_choice;
  if (forms.tools == ToolForm::kQwenXml) {
    parsed.answer.schemas = std::make_shared<const Json>(input.tools);
  }
  parsed.answer.opening = start.opening;
  ShowMarkers(*service.tokenizer(), parsed.answer, &parsed.request);
  std::optional<int64_t> room;
  if (drop_oldest) room = RoomForChat(service, start, parsed.request);
  AddPrompt(service, std::move(input), std::move(start), room, &parsed);
  parsed.options.id = NewId("chatcmpl-");
  return parsed;
}

void AddChatRoutes(Service& service, Router* router) {
  AddPost(
      router, "/v1/chat/completions",
      [&service](const Json& body, const Exchange&) { return ParseChatBody(service, body); },
      [&service](const std::shared_ptr<Exchange>& exchange, ParsedChat parsed) {
        std::make_shared<ChatResponder>(service, exchange, std::move(parsed.options),
                                        std::move(parsed.answer), parsed.request.num_choices)
            ->Run(std::move(parsed.request));
      });
}

}  // namespace slipstream
