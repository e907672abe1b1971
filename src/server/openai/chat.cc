// POST /v1/chat/completions.
#include <fmt/core.h>

#include <limits>
#include <utility>
#include <vector>

#include "server/http/http_errors.h"
#include "server/json_text.h"
#include "server/openai/chat_render.h"
#include "server/openai/common_params.h"
#include "server/openai/logprobs.h"
#include "server/openai/responder.h"
#include "server/openai/routes.h"

namespace slipstream {
namespace {

constexpr int kMaxTopLogprobs = 20;

class ChatResponder final : public Responder {
 public:
  ChatResponder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options,
                int num_choices)
      : Responder(service, std::move(exchange), std::move(options)), choices_(num_choices) {
    const auto head = [&](const char* object) {
      std::string out = "{\"id\":";
      AppendJsonString(&out, options_.id);
      out += ",\"object\":\"";
      out += object;
      out += "\",\"created\":";
      AppendInt(&out, options_.created);
      out += ",\"model\":";
      AppendJsonString(&out, options_.model);
      return out + ",\"choices\":";
    };
    head_ = "data: " + head("chat.completion.chunk");
    whole_head_ = head("chat.completion");
  }

 private:
  struct Choice {
    std::string text, logprobs;
    std::string tail;  // of the finished object: finish and stop reasons
  };

  void AppendChunks(std::string* out, const ChoiceDelta& delta) override {
    if (delta.first) {
      OpenChoice(out, delta.index);
      out->append("\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,");
      out->append("\"finish_reason\":null}]");
      CloseChunk(out);
    }
    const bool finished = delta.finish != FinishReason::kNone;
    const bool has_logprobs = options_.num_logprobs >= 0 && delta.token != nullptr;
    if (delta.text.empty() && !finished && !has_logprobs) return;
    OpenChoice(out, delta.index);
    if (!delta.text.empty()) {
      out->append("\"content\":\"");
      AppendJsonEscaped(out, delta.text);
      out->push_back('"');
    }
    out->append("},\"logprobs\":");
    if (has_logprobs) {
      out->append("{\"content\":[");
      AppendChatLogprob(out, *service_.tokenizer(), *delta.token, options_.num_logprobs);
      out->append("],\"refusal\":null}");
    } else {
      out->append("null");
    }
    AppendEnd(out, delta);
    out->append("}]");
    CloseChunk(out);
  }

  const std::string& chunk_head() const override { return head_; }

  void Collect(const ChoiceDelta& delta) override {
    Choice& choice = choices_[delta.index];
    choice.text += delta.text;
    if (options_.num_logprobs >= 0 && delta.token != nullptr) {
      if (!choice.logprobs.empty()) choice.logprobs += ',';
      AppendChatLogprob(&choice.logprobs, *service_.tokenizer(), *delta.token,
                        options_.num_logprobs);
    }
    if (delta.finish != FinishReason::kNone) AppendEnd(&choice.tail, delta);
  }

  std::string WholeBody(const GenerationUsage& usage) const override {
    std::string out = whole_head_ + "[";
    for (size_t i = 0; i < choices_.size(); ++i) {
      const Choice& choice = choices_[i];
      if (i > 0) out += ',';
      out += "{\"index\":";
      AppendInt(&out, static_cast<long long>(i));
      out += ",\"message\":{\"role\":\"assistant\",\"content\":";
      AppendJsonString(&out, choice.text);
      out += ",\"refusal\":null},\"logprobs\":";
      if (options_.num_logprobs >= 0) {
        out.append("{\"content\":[").append(choice.logprobs).append("],\"refusal\":null}");
      } else {
        out += "null";
      }
      out += choice.tail;
      out += '}';
    }
    out += "],\"usage\":";
    AppendUsage(&out, usage);
    out += '}';
    return out;
  }

  void OpenChoice(std::string* out, int index) const {
    out->append(head_).append("[{\"index\":");
    AppendInt(out, index);
    out->append(",\"delta\":{");
  }

  static void AppendEnd(std::string* out, const ChoiceDelta& delta) {
    out->append(",\"finish_reason\":");
    AppendFinishReason(out, delta.finish);
    if (delta.finish == FinishReason::kNone) return;
    out->append(",\"stop_reason\":");
    AppendStopReason(out, delta);
  }

  std::string head_, whole_head_;
  std::vector<Choice> choices_;
};

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

struct ParsedChat {
  GenerateRequest request;
  ResponseOptions options;
};

Result<ParsedChat> ParseChat(const Service& service, const HttpRequest& http) {
  SLIP_RETURN_IF_ERROR(CheckJsonContent(http));
  SLIP_ASSIGN_OR_RETURN(const Json body, ParseJsonObject(http.body));
  ParsedChat parsed;
  FieldReader reader(body, "");
  ReadCommonFields(reader, service.model(), &parsed.request, &parsed.options);
  ReadLengths(reader, &parsed.request);
  ReadLogprobs(reader, &parsed.request, &parsed.options);
  SLIP_RETURN_IF_ERROR(reader.status());
  SLIP_RETURN_IF_ERROR(CheckModel(service, parsed.options.model));
  SLIP_ASSIGN_OR_RETURN(ChatInput input, ReadChatInput(reader));
  parsed.request.prompts.emplace_back(
      [chat_template = service.chat_template(), input = std::move(input)] {
        return RenderChatInput(chat_template, input);
      });
  for (std::string& name : reader.Unread()) parsed.options.ignored_fields.push_back(name);
  parsed.options.id = NewId("chatcmpl-");
  return parsed;
}

}  // namespace

void AddChatRoutes(Service& service, Router* router) {
  router->Add({"POST", "/v1/chat/completions", true,
               [&service](const std::shared_ptr<Exchange>& exchange, HttpRequest&& http) {
                 auto parsed = ParseChat(service, http);
                 if (!parsed) return exchange->Respond(ErrorResponse(parsed.error()));
                 auto responder = std::make_shared<ChatResponder>(
                     service, exchange, std::move(parsed->options), parsed->request.num_choices);
                 responder->Run(std::move(parsed->request));
               }});
}

}  // namespace slipstream
