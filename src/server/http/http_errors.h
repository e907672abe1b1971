// Errors as OpenAI clients expect them: one shape for every status, with bounded text. Pure
// functions, any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http/exchange.h"

namespace slipstream {

int HttpStatusOf(ErrorCode code);
std::string_view ReasonPhrase(int status);

// {"error":{"message":...,"type":...,"param":...,"code":...}} on one line.
std::string ErrorJson(const Error& error);
std::string ErrorJson(int status, std::string_view message, std::string_view param = {},
                      std::string_view code = {});

// {"type":"error","error":{"type":...,"message":...}}: the shape of Anthropic's API.
std::string AnthropicErrorJson(int status, std::string_view message);
// An error in the shape that clients of `path` expect.
HttpResponse ShapedFor(std::string_view path, HttpResponse error);

// With status and the headers that tell a client whether and when to try again.
HttpResponse ErrorResponse(const Error& error);
HttpResponse ErrorResponse(int status, std::string_view message, std::string_view code = {});

}  // namespace slipstream
