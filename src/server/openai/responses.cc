// POST /v1/responses; GET and DELETE /v1/responses/{id}.
#include <memory>
#include <utility>

#include "server/http/http_errors.h"
#include "server/openai/chat_request.h"
#include "server/openai/json_endpoint.h"
#include "server/openai/responses_answer.h"
#include "server/openai/routes.h"

namespace slipstream {
namespace {

constexpr std::string_view kPath = "/v1/responses/";

std::string OwnerOf(const Exchange& exchange) {
  const auto& key = exchange.record()->key;
  return key ? key->name() : "";
}

Error NoResponse(const std::string& id, std::string param) {
  return {ErrorCode::kNotFound,
          "there is no response " + Shown(Json(id)) + "; it may have been forgotten",
          std::move(param)};
}

struct ParsedResponse {
  ParsedChat chat;
  ResponsesInput input;
};

Result<ParsedResponse> Parse(const Service& service, ResponseStore& store, const Json& body,
                             const std::string& owner) {
  ParsedResponse parsed;
  ResponsesInput& input = parsed.input;
  SLIP_ASSIGN_OR_RETURN(input, ReadResponsesInput(body));
  Json previous = Json::array();
  if (input.previous) {
    const auto stored = store.Get(*input.previous, owner);
    if (!stored) return tl::unexpected(NoResponse(*input.previous, "previous_response_id"));
    previous = Json::parse(stored->messages, nullptr, false);
  }
  PutMessages(previous, &input);
  SLIP_ASSIGN_OR_RETURN(parsed.chat, ParseChatBody(service, input.chat, input.drop_oldest));
  input.chat = Json();
  parsed.chat.options.id = NewId("resp_");
  return parsed;
}

}  // namespace

void AddResponsesRoutes(Service& service, Router* router) {
  const auto store = std::make_shared<ResponseStore>();
  AddPost(
      router, "/v1/responses",
      [&service, store](const Json& body, const Exchange& exchange) {
        return Parse(service, *store, body, OwnerOf(exchange));
      },
      [&service, store](const std::shared_ptr<Exchange>& exchange, ParsedResponse parsed) {
        ParsedChat& chat = parsed.chat;
        auto kept = parsed.input.store ? store : nullptr;
        std::make_shared<ResponsesResponder>(service, exchange, std::move(chat.options),
                                             std::move(chat.answer), std::move(parsed.input),
                                             std::move(kept), OwnerOf(*exchange))
            ->Run(std::move(chat.request));
      });
  router->Add({"GET", "/v1/responses/*", true,
               [store](const std::shared_ptr<Exchange>& exchange, HttpRequest&& http) {
                 const std::string id = http.path.substr(kPath.size());
                 auto stored = store->Get(id, OwnerOf(*exchange));
                 if (!stored) return exchange->Respond(ErrorResponse(NoResponse(id, "")));
                 HttpResponse response;
                 response.body = std::move(stored->body);
                 exchange->Respond(std::move(response));
               }});
  router->Add({"DELETE", "/v1/responses/*", true,
               [store](const std::shared_ptr<Exchange>& exchange, HttpRequest&& http) {
                 const std::string id = http.path.substr(kPath.size());
                 if (!store->Erase(id, OwnerOf(*exchange))) {
                   return exchange->Respond(ErrorResponse(NoResponse(id, "")));
                 }
                 HttpResponse response;
                 response.body = Json({{"id", id}, {"object", "response"}, {"deleted", true}})
                                     .dump(-1, ' ', false, Json::error_handler_t::replace);
                 exchange->Respond(std::move(response));
               }});
}

}  // namespace slipstream
