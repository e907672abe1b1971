#include "server/openai/json_endpoint.h"

#include <cctype>
#include <exception>

namespace slipstream {

Result<Json> ReadJsonBody(const HttpRequest& request) {
  std::string type = request.content_type.substr(0, request.content_type.find(';'));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  for (char& c : type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (type.empty() || type == "application/json" || type.ends_with("+json")) {
    return ParseJsonObject(request.body);
  }
  return InvalidArgument("content-type must be application/json, not " + type.substr(0, 64));
}

void AnswerFromPool(Service& service, const std::shared_ptr<Exchange>& exchange, const char* path,
                    PoolWork work) {
  auto result = std::make_shared<Result<std::string>>();
  const auto answer = [exchange, path](Result<std::string> body) {
    if (!body) return exchange->Respond(ShapedFor(path, ErrorResponse(body.error())));
    HttpResponse response;
    response.body = std::move(*body);
    exchange->Respond(std::move(response));
  };
  const bool queued = service.RunOnPool(
      exchange->loop(),
      [result, work = std::move(work)] {
        try {
          *result = work();
        } catch (const std::exception& e) {
          *result = Internal(e.what());
        }
      },
      [result, answer] { answer(std::move(*result)); });
  if (!queued) answer(Fail(ErrorCode::kResourceExhausted, "the queue is full"));
}

}  // namespace slipstream
