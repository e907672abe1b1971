// What all endpoints that take a JSON body have in common: reading it, refusing it in the shape
// that clients of the path expect, and answering from the tokenizer pool. Loop thread; does not
// fail.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "server/http/http_errors.h"
#include "server/http/router.h"
#include "server/openai/field_reader.h"
#include "server/service.h"

namespace slipstream {

// The body of a request to a JSON endpoint; refuses another content-type before it is parsed.
Result<Json> ReadJsonBody(const HttpRequest& request);

// Adds POST `path`, which asks for a key. `parse(body, exchange)` makes of the body what
// `start(exchange, parsed)` answers, or says what is wrong with it.
template <typename Parse, typename Start>
void AddPost(Router* router, const char* path, Parse parse, Start start) {
  router->Add({"POST", path, true,
               [path, parse = std::move(parse), start = std::move(start)](
                   const std::shared_ptr<Exchange>& exchange, HttpRequest&& http) {
                 auto body = ReadJsonBody(http);
                 if (!body) {
                   return exchange->Respond(ShapedFor(path, ErrorResponse(body.error())));
                 }
                 auto parsed = parse(std::as_const(*body), *exchange);
                 if (!parsed) {
                   return exchange->Respond(ShapedFor(path, ErrorResponse(parsed.error())));
                 }
                 start(exchange, std::move(*parsed));
               }});
}

// Runs `work` on the tokenizer pool; its result is the body of the answer, or the error.
using PoolWork = std::function<Result<std::string>()>;
void AnswerFromPool(Service& service, const std::shared_ptr<Exchange>& exchange, const char* path,
                    PoolWork work);

}  // namespace slipstream
