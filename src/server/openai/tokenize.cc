// POST /tokenize and /detokenize and GET /tokenizer_info, as vLLM has them: benchmarks and
// evaluations align prompts with them.
#include <fmt/core.h>

#include <limits>
#include <utility>
#include <vector>

#include "server/json_text.h"
#include "server/openai/chat_render.h"
#include "server/openai/common_params.h"
#include "server/openai/json_endpoint.h"
#include "server/openai/routes.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/detokenizer.h"

namespace slipstream {
namespace {

Result<PoolWork> ParseTokenize(Service& service, const Json& body) {
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
  return [&service, prompt, chat = std::move(chat), add_special,
          with_texts]() -> Result<std::string> {
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

Result<PoolWork> ParseDetokenize(Service& service, const Json& body) {
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
  return [&service, ids = std::move(ids)]() -> Result<std::string> {
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

void AddTokenizeRoutes(Service& service, Router* router) {
  const auto add = [&](const char* path, auto parse) {
    AddPost(
        router, path,
        [&service, parse](const Json& body, const Exchange&) { return parse(service, body); },
        [&service, path](const std::shared_ptr<Exchange>& exchange, PoolWork work) {
          AnswerFromPool(service, exchange, path, std::move(work));
        });
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
