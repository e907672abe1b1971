// POST /v1/completions: prompts as text or token ids, echo, log probabilities.
#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "server/json_text.h"
#include "server/openai/common_params.h"
#include "server/openai/json_endpoint.h"
#include "server/openai/logprobs.h"
#include "server/openai/prompt_input.h"
#include "server/openai/responder.h"
#include "server/openai/routes.h"

namespace slipstream {
namespace {

constexpr int kDefaultMaxTokens = 16;
constexpr int kMaxLogprobs = 20;

class CompletionResponder final : public Responder {
 public:
  CompletionResponder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options,
                      int num_choices)
      : Responder(service, std::move(exchange), std::move(options)) {
    for (int i = 0; i < num_choices; ++i) choices_.emplace_back(*service.tokenizer());
    object_ = ObjectHead("text_completion");
    head_ = "data: " + object_;
  }

 private:
  struct Choice {
    explicit Choice(const Tokenizer& tokenizer) : logprobs(tokenizer) {}
    CompletionLogprobs logprobs;
    std::string text;
    std::string prompt_ids, prompt_logprobs;  // the fields, once known
    std::vector<int32_t> ids;
    std::string tail;  // of the finished object: finish and stop reasons
  };

  void AppendChunks(std::string* out, const ChoiceDelta& delta) override {
    Choice& choice = choices_[delta.index];
    const std::string_view echoed = delta.first ? delta.prompt_text : std::string_view();
    AddLogprobs(&choice, delta);
    const bool finished = delta.finish != FinishReason::kNone;
    const bool has_ids = options_.return_token_ids && delta.token != nullptr;
    if (delta.text.empty() && echoed.empty() && !finished && !has_ids && choice.logprobs.empty()) {
      return;
    }
    out->append(head_).append("[{\"index\":");
    AppendInt(out, delta.index);
    out->append(",\"text\":\"");
    AppendJsonEscaped(out, echoed);
    AppendJsonEscaped(out, delta.text);
    out->append("\",\"logprobs\":");
    AppendLogprobs(out, choice);
    choice.logprobs.Clear();
    AppendEnd(out, delta);
    if (options_.return_token_ids) {
      if (delta.first) AppendPromptIds(out, delta);
      AppendTokenId(out, delta);
    }
    out->append("}]");
    CloseChunk(out);
  }

  const std::string& chunk_head() const override { return head_; }

  void Collect(const ChoiceDelta& delta) override {
    Choice& choice = choices_[delta.index];
    if (delta.first) choice.text = delta.prompt_text;
    choice.text += delta.text;
    AddLogprobs(&choice, delta);
    if (options_.return_token_ids) {
      if (delta.first) AppendPromptIds(&choice.prompt_ids, delta);
      if (delta.token != nullptr) choice.ids.push_back(delta.token->token);
    }
    if (delta.first && options_.num_prompt_logprobs >= 0) {
      choice.prompt_logprobs = ",\"prompt_logprobs\":";
      AppendPromptLogprobs(&choice.prompt_logprobs, *service_.tokenizer(), *delta.prompt_logprobs,
                           options_.num_prompt_logprobs);
    }
    if (delta.finish != FinishReason::kNone) AppendEnd(&choice.tail, delta);
  }

  std::string WholeBody(const GenerationUsage& usage) const override {
    std::string out = object_;
    out += '[';
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (i > 0) out += ',';
      out += "{\"index\":";
      AppendInt(&out, static_cast<long long>(i));
      out += ",\"text\":";
      AppendJsonString(&out, choices_[i].text);
      out += ",\"logprobs\":";
      AppendLogprobs(&out, choices_[i]);
      out += choices_[i].tail;
      out += choices_[i].prompt_logprobs;
      if (options_.return_token_ids) {
        out += choices_[i].prompt_ids;
        out += ",\"token_ids\":";
        AppendIds(&out, choices_[i].ids);
      }
      out += '}';
    }
    out += "],\"usage\":";
    AppendUsage(&out, usage);
    out += '}';
    return out;
  }

  void AddLogprobs(Choice* choice, const ChoiceDelta& delta) const {
    const int num_top = options_.num_logprobs;
    if (num_top < 0) return;
    // Only an echo begins with the prompt's; others may have been asked for, too.
    if (delta.first && options_.echo && !delta.prompt_ids->empty()) {
      choice->logprobs.AddUnscored(delta.prompt_ids->front());
      for (const SampledToken& token : *delta.prompt_logprobs) choice->logprobs.Add(token, num_top);
    }
    if (delta.token != nullptr) choice->logprobs.Add(*delta.token, num_top);
  }

  void AppendLogprobs(std::string* out, const Choice& choice) const {
    if (options_.num_logprobs < 0) {
      out->append("null");
    } else {
      choice.logprobs.AppendTo(out);
    }
  }

  static void AppendPromptIds(std::string* out, const ChoiceDelta& delta) {
    out->append(",\"prompt_token_ids\":");
    AppendIds(out, *delta.prompt_ids);
  }

  static void AppendEnd(std::string* out, const ChoiceDelta& delta) {
    out->append(",\"finish_reason\":");
    AppendFinishReason(out, delta.finish);
    out->append(",\"stop_reason\":");
    AppendStopReason(out, delta);
  }

  std::string object_, head_;
  std::vector<Choice> choices_;
};

struct ParsedCompletion {
  GenerateRequest request;
  ResponseOptions options;
};

// Tokens that tell models of code what to fill in: begin, prefix, hole, suffix, end.
struct InfillMarks {
  const char *begin, *hole, *end;
};
constexpr InfillMarks kInfillMarks[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},  // Qwen, CodeGemma
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},        // StarCoder, Granite
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},  // DeepSeek
};

// With a suffix the answer is what stands between it and the prompt.
void AddSuffix(FieldReader& reader, const Tokenizer& tokenizer, GenerateRequest* request) {
  const std::string suffix = reader.String("suffix").value_or("");
  if (suffix.empty()) return;
  const auto marks =
      std::find_if(std::begin(kInfillMarks), std::end(kInfillMarks), [&](const InfillMarks& marks) {
        return tokenizer.FindToken(marks.begin) && tokenizer.FindToken(marks.hole) &&
               tokenizer.FindToken(marks.end);
      });
  if (marks == std::end(kInfillMarks)) {
    return reader.Reject("suffix", "needs a model with tokens for it: this one cannot fill in");
  }
  if (request->echo) return reader.Reject("suffix", "cannot be combined with echo");
  for (auto& prompt : request->prompts) {
    auto* text = std::get_if<std::string>(&prompt);
    if (text == nullptr) return reader.Reject("suffix", "needs a prompt of text, not of token ids");
    *text = fmt::format("{}{}{}{}{}", marks->begin, *text, marks->hole, suffix, marks->end);
  }
}

Result<ParsedCompletion> ParseCompletion(const Service& service, const Json& body) {
  ParsedCompletion parsed;
  GenerateRequest& request = parsed.request;
  SamplingParams& params = request.params;
  FieldReader reader(body, "");
  ReadCommonFields(reader, service.model(), &request, &parsed.options);
  ReadPrompts(reader, "prompt", service.config().max_queued_requests, &request);
  constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
  params.max_tokens =
      static_cast<int>(reader.Integer("max_tokens", 0, kMaxTokens).value_or(kDefaultMaxTokens));
  if (auto v = reader.Integer("max_completion_tokens", 0, kMaxTokens)) {
    params.max_tokens = static_cast<int>(*v);
  }
  request.echo = parsed.options.echo = reader.Bool("echo").value_or(false);
  request.add_special_tokens = reader.Bool("add_special_tokens").value_or(true);
  if (auto v = reader.Integer("logprobs", 0, kMaxLogprobs)) {
    params.num_logprobs = parsed.options.num_logprobs = static_cast<int>(*v);
    if (request.echo) {
      params.num_prompt_logprobs = std::max(params.num_prompt_logprobs, static_cast<int>(*v));
    }
  }
  AddSuffix(reader, *service.tokenizer(), &request);
  SLIP_RETURN_IF_ERROR(reader.status());
  SLIP_RETURN_IF_ERROR(CheckModel(service, parsed.options.model));
  SLIP_RETURN_IF_ERROR(TakeUnreadFields(service, reader, &parsed.options));
  parsed.options.id = NewId("cmpl-");
  return parsed;
}

}  // namespace

void AddCompletionRoutes(Service& service, Router* router) {
  AddPost(
      router, "/v1/completions",
      [&service](const Json& body, const Exchange&) { return ParseCompletion(service, body); },
      [&service](const std::shared_ptr<Exchange>& exchange, ParsedCompletion parsed) {
        GenerateRequest& request = parsed.request;
        const int num_choices = static_cast<int>(request.prompts.size()) * request.num_choices;
        std::make_shared<CompletionResponder>(service, exchange, std::move(parsed.options),
                                              num_choices)
            ->Run(std::move(request));
      });
}

}  // namespace slipstream
