// GET /v1/models and /v1/models/{id}.
#include <fmt/core.h>

#include "server/http/http_errors.h"
#include "server/json_text.h"
#include "server/openai/common_params.h"
#include "server/openai/routes.h"

namespace slipstream {
namespace {

constexpr std::string_view kPrefix = "/v1/models/";

void AppendModel(std::string* out, const ModelInfo& model, const std::string& name) {
  out->append("{\"id\":");
  AppendJsonString(out, name);
  out->append(",\"object\":\"model\",\"created\":");
  AppendInt(out, model.created);
  out->append(",\"owned_by\":\"slipstream\",\"root\":");
  AppendJsonString(out, model.root.empty() ? model.name : model.root);
  out->append(",\"parent\":null,\"max_model_len\":");
  AppendInt(out, model.max_model_len);
  out->append("}");
}

std::string Unescaped(std::string_view path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    const auto digit = [&](size_t at) -> int {
      const char c = at < path.size() ? path[at] : 'x';
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'a' && c <= 'f') return c - 'a' + 10;
      return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    if (path[i] == '%' && digit(i + 1) >= 0 && digit(i + 2) >= 0) {
      out += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
      i += 2;
    } else {
      out += path[i];
    }
  }
  return out;
}

}  // namespace

void AddModelRoutes(Service& service, Router* router) {
  router->Add({"GET", "/v1/models", true,
               [&service](const std::shared_ptr<Exchange>& exchange, HttpRequest&&) {
                 const ModelInfo& model = service.model();
                 HttpResponse response;
                 response.body = "{\"object\":\"list\",\"data\":[";
                 AppendModel(&response.body, model, model.name);
                 for (const std::string& alias : model.aliases) {
                   response.body += ',';
                   AppendModel(&response.body, model, alias);
                 }
                 response.body += "]}";
                 exchange->Respond(std::move(response));
               }});
  router->Add({"GET", "/v1/models/*", true,
               [&service](const std::shared_ptr<Exchange>& exchange, HttpRequest&& http) {
                 const std::string name =
                     Unescaped(std::string_view(http.path).substr(kPrefix.size()));
                 if (Status known = CheckModel(service, name); !known) {
                   return exchange->Respond(ErrorResponse(known.error()));
                 }
                 HttpResponse response;
                 AppendModel(&response.body, service.model(), name);
                 exchange->Respond(std::move(response));
               }});
}

}  // namespace slipstream
