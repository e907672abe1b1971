#include "server/operations.h"

#include <utility>

#include "server/http/http_errors.h"
#include "server/metrics_text.h"
#include "server/openapi_text.h"

namespace slipstream {
namespace {

HttpResponse Text(std::string body, const char* content_type) {
  HttpResponse response;
  response.content_type = content_type;
  response.body = std::move(body);
  return response;
}

void Add(Router* router, const char* path, std::function<HttpResponse()> answer) {
  router->Add({"GET", path, false,
               [answer = std::move(answer)](const std::shared_ptr<Exchange>& exchange,
                                            HttpRequest&&) { exchange->Respond(answer()); }});
}

}  // namespace

void AddOperationRoutes(Service& service, Router* router) {
  // Alive and able to make progress. True during a drain: a process that finishes its work well
  // must not be killed for it.
  Add(router, "/health", [&service] {
    const Status health = service.Health();
    return health ? Text("{\"status\":\"ok\"}", "application/json") : ErrorResponse(health.error());
  });
  // Willing to take new requests.
  Add(router, "/ready", [&service] {
    const Status ready = service.Ready();
    return ready ? Text("{\"status\":\"ready\"}", "application/json")
                 : ErrorResponse(ready.error());
  });
  Add(router, "/metrics", [&service] {
    const MetricsSources sources{.server = service.metrics(),
                                 .engine = service.engine().metrics(),
                                 .model_name = service.model().name,
                                 .block_size_tokens = service.engine().info().block_size_tokens,
                                 .vllm_names = service.config().metrics_compat == "vllm",
                                 .prefix_caching = service.config().prefix_caching,
                                 .keys = service.keys()->accounts()};
    return Text(RenderMetrics(sources), "text/plain; version=0.0.4; charset=utf-8");
  });
  Add(router, "/openapi.json", [] { return Text(std::string(kOpenApiText), "application/json"); });
  Add(router, "/version",
      [] { return Text("{\"version\":\"" SLIPSTREAM_VERSION "\"}", "application/json"); });
}

}  // namespace slipstream
