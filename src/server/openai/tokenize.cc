// POST /tokenize and /detokenize and GET /tokenizer_info, as vLLM has them: benchmarks and
// evaluations align prompts with them.
#include <fmt/core.h>

#include <limits>
#include <utility>
#include <vector>

#include "server/http/http_errors.h"
#include "server/json_text.h"
#include "server/openai/chat_render.h"
#include "server/openai/common_params.h"
#include "server/openai/routes.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/detokenizer.h"

namespace slipstream {
namespace {

using WorkResult = Result<std::string>;  // a body

// Runs `work` on the tokenizer pool and answers with what it returns.
void AnswerFromPool(Service& service, const std::shared_ptr<Exchange>& exchange,
                    std::function<WorkResult()> work) {
  auto result = std::make_shared<WorkResult>();
  const bool queued = service.RunOnPool(
      exchange->loop(),
      [result, work = std::move(work)] {
        try {
          *result = work();
        } catch (const std::exception& e) {
          *result = Internal(e.what());
        }
      },
      [result, exchange] {
        if (!*result) return exchange->Respond(ErrorResponse(result->error()));
        HttpResponse response;
        response.body = std::move(**result);
        exchange->Respond(std::move(response));
      });
  if (!queued) {
    exchange->Respond(ErrorResponse({ErrorCode::kResourceExhausted, "the queue is full", {}}));
  }
}

Result<std::function<WorkResult()>> ParseTokenize(Service& service, const HttpRequest& http) {
  SLIP_ASSIGN_OR_RETURN(const Json body, ReadJsonBody(http));
  FieldReader reader(body, "");
  const auto model = reader.String("model");
  const auto prompt = reader.String("prompt");
  const bool is_chat = body.contains("messages");
  const bool with_texts = reader.Bool("return_token_strs").value_or(false);
  const bool add_special = reader.Bool("add_special_tokens").value_or(!is_chat);
  SLIP_RETURN_IF_ERROR(reader.status());
  if (model) SLIP_RETURN_IF_ERROR(CheckModel(service, *model));
  ChatInput chat;
  if (is_chat && prompt) {
    return InvalidArgument("prompt and messages exclude each other", "prompt");
  }
  if (is_chat) {
    SLIP_ASSIGN_OR_RETURN(chat, ReadChatInput(reader));
  } else if (!prompt) {
    return InvalidArgument("prompt or messages is required", "prompt");
  }
  return [&service, prompt, chat = std::move(chat), add_special, with_texts]() -> WorkResult {
    std::string text = prompt.value_or("");
    if (!prompt) {
      SLIP_ASSIGN_OR_RETURN(text, RenderChatInput(service.chat_template(), chat));
    }
    SLIP_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                          service.tokenizer()->Encode(
                              text, {.add_special_tokens = add_special, .parse_special = true}));
    std::string out = fmt::format("{{\"count\":{},\"max_model_len\":{},\"tokens\":[", ids.size(),
                                  service.model().max_model_len);
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) out += ',';
      AppendInt(&out, ids[i]);
    }
    out += ']';
    for (size_t i = 0; with_texts && i < ids.size(); ++i) {
      out += i == 0 ? ",\"token_strs\":[" : ",";
      AppendJsonString(&out, service.tokenizer()->TokenBytes(ids[i]));
      if (i + 1 == ids.size()) out += ']';
    }
    return out + "}";
  };
}

Result<std::function<WorkResult()>> ParseDetokenize(Service& service, const HttpRequest& http) {
  SLIP_ASSIGN_OR_RETURN(const Json body, ReadJsonBody(http));
  FieldReader reader(body, "");
  const auto model = reader.String("model");
  const Json* tokens = reader.Array("tokens");
  if (tokens == nullptr) reader.Reject("tokens", "is required");
  SLIP_RETURN_IF_ERROR(reader.status());
  if (model) SLIP_RETURN_IF_ERROR(CheckModel(service, *model));
  std::vector<int32_t> ids;
  for (const Json& id : *tokens) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() >= service.tokenizer()->vocab_size()) {
      return InvalidArgument("tokens must hold token ids, not " + Shown(id), "tokens");
    }
    ids.push_back(id.get<int32_t>());
  }
  return [&service, ids = std::move(ids)]() -> WorkResult {
    std::string out = "{\"prompt\":";
    AppendJsonString(&out, Decode(service.tokenizer(), ids, {.skip_special_tokens = false}));
    return out + "}";
  };
}

// What clients that have no tokenizer of their own know of tokenizer_config.json.
std::string TokenizerInfo(const Service& service) {
  std::string out = "{";
  const auto add = [&](const char* name, const std::string& text) {
    out.append("\"").append(name).append("\":");
    if (text.empty()) {
      out += "null";
    } else {
      AppendJsonString(&out, text);
    }
    out += ',';
  };
  add("bos_token", service.tokenizer()->bos_token());
  add("eos_token", service.tokenizer()->eos_token());
  add("chat_template",
      service.chat_template() == nullptr ? std::string() : service.chat_template()->source());
  return out + fmt::format("\"vocab_size\":{},\"model_max_length\":{}}}",
                           service.tokenizer()->vocab_size(), service.model().max_model_len);
}

}  // namespace

Result<Json> ReadJsonBody(const HttpRequest& request) {
  std::string type = request.content_type.substr(0, request.content_type.find(';'));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  for (char& c : type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (type.empty() || type == "application/json" || type.ends_with("+json")) {
    return ParseJsonObject(request.body);
  }
  return InvalidArgument("content-type must be application/json, not " + type.substr(0, 64));
}

void AddTokenizeRoutes(Service& service, Router* router) {
  const auto add = [&](const char* path, auto parse) {
    router->Add({"POST", path, true,
                 [&service, parse](const std::shared_ptr<Exchange>& exchange, HttpRequest&& http) {
                   auto work = parse(service, http);
                   if (!work) return exchange->Respond(ErrorResponse(work.error()));
                   AnswerFromPool(service, exchange, std::move(*work));
                 }});
  };
  add("/tokenize", &ParseTokenize);
  add("/detokenize", &ParseDetokenize);
  router->Add({"GET", "/tokenizer_info", true,
               [&service](const std::shared_ptr<Exchange>& exchange, HttpRequest&&) {
                 HttpResponse response;
                 response.body = TokenizerInfo(service);
                 exchange->Respond(std::move(response));
               }});
}

}  // namespace slipstream
