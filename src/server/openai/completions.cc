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
  // Of the `num_made` choices of each prompt the best `num_told` are told of.
  CompletionResponder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options,
                      size_t num_prompts, int num_made, int num_told)
      : Responder(service, std::move(exchange), std::move(options)),
        num_made_(static_cast<size_t>(num_made)),
        num_told_(static_cast<size_t>(num_told)) {
    for (size_t i = 0; i < num_prompts * num_made_; ++i) {
      choices_.emplace_back(*service.tokenizer());
    }
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
    double logprob_sum = 0;
    int num_tokens = 0;

    double score() const { return num_tokens > 0 ? logprob_sum / num_tokens : 0; }
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
    if (delta.token != nullptr) {
      choice.logprob_sum += delta.token->logprob;
      ++choice.num_tokens;
    }
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
    int index = 0;
    for (const Choice* choice : Told()) {
      if (index > 0) out += ',';
      out += "{\"index\":";
      AppendInt(&out, index++);
      out += ",\"text\":";
      AppendJsonString(&out, choice->text);
      out += ",\"logprobs\":";
      AppendLogprobs(&out, *choice);
      out += choice->tail;
      out += choice->prompt_logprobs;
      if (options_.return_token_ids) {
        out += choice->prompt_ids;
        out += ",\"token_ids\":";
        AppendIds(&out, choice->ids);
      }
      out += '}';
    }
    out += "],\"usage\":";
    AppendUsage(&out, usage);
    out += '}';
    return out;
  }

  // Best is what has the highest log probability per token.
  std::vector<const Choice*> Told() const {
    std::vector<const Choice*> told, made;
    for (size_t first = 0; first < choices_.size(); first += num_made_) {
      made.clear();
      for (size_t i = 0; i < num_made_; ++i) made.push_back(&choices_[first + i]);
      if (num_told_ < num_made_) {
        std::stable_sort(made.begin(), made.end(),
                         [](const Choice* a, const Choice* b) { return a->score() > b->score(); });
      }
      told.insert(told.end(), made.begin(), made.begin() + static_cast<ptrdiff_t>(num_told_));
    }
    return told;
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
  const size_t num_made_, num_told_;
};

struct ParsedCompletion {
  GenerateRequest request;
  ResponseOptions options;
  int num_told = 1;  // of the choices of a prompt
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

void ReadBestOf(FieldReader& reader, ParsedCompletion* parsed) {
  GenerateRequest& request = parsed->request;
  parsed->num_told = request.num_choices;
  const int made =
      static_cast<int>(reader.Integer("best_of", 1, kMaxChoices).value_or(request.num_choices));
  if (made < parsed->num_told) return reader.Reject("best_of", "must not be less than n");
  if (made == parsed->num_told) return;
  if (parsed->options.stream) {
    return reader.Reject("best_of", "cannot be streamed when it is more than n");
  }
  request.num_choices = made;
  request.params.num_logprobs = std::max(request.params.num_logprobs, 0);
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
  ReadBestOf(reader, &parsed);
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
        std::make_shared<CompletionResponder>(service, exchange, std::move(parsed.options),
                                              request.prompts.size(), request.num_choices,
                                              parsed.num_told)
            ->Run(std::move(request));
      });
}

}  // namespace slipstream
