#include "server/http/http_errors.h"

#include "server/json_text.h"

namespace slipstream {
namespace {

constexpr size_t kMaxMessageBytes = 1024;
constexpr size_t kMaxParamBytes = 128;

std::string_view TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_implemented_error";
    case 503:
      return "service_unavailable_error";
    case 504:
      return "timeout_error";
    default:
      return status >= 500 ? "internal_server_error" : "invalid_request_error";
  }
}

// Anthropic's words for the same.
std::string_view AnthropicTypeOf(int status) {
  switch (status) {
    case 413:
      return "request_too_large";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 && status != 504 ? "api_error" : TypeOf(status);
  }
}

std::string_view CodeOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::kUnauthenticated:
      return "invalid_api_key";
    case ErrorCode::kNotFound:
      return error.param == "model" ? "model_not_found" : "not_found";
    case ErrorCode::kResourceExhausted:
      return "rate_limit_exceeded";
    case ErrorCode::kUnavailable:
      return "service_unavailable";
    case ErrorCode::kDeadlineExceeded:
      return "timeout";
    case ErrorCode::kInvalidArgument:
      // Clients look for this code and for the words of the message.
      if (error.message.find("maximum context length") != std::string::npos) {
        return "context_length_exceeded";
      }
      return "";
    default:
      return "";
  }
}

void AddRetryHeaders(HttpResponse* response) {
  if (response->status == 429 || response->status == 503) {
    response->headers.emplace_back("retry-after", "1");
  }
  // The same request would fail the same way.
  if (response->status == 500) response->headers.emplace_back("x-should-retry", "false");
}

}  // namespace

int HttpStatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return 400;
    case ErrorCode::kFailedPrecondition:
      return 400;
    case ErrorCode::kUnauthenticated:
      return 401;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kResourceExhausted:
      return 429;
    case ErrorCode::kUnimplemented:
      return 501;
    case ErrorCode::kCancelled:
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Error";
  }
}

std::string ErrorJson(int status, std::string_view message, std::string_view param,
                      std::string_view code) {
  const auto string_or_null = [](std::string* out, std::string_view text) {
    if (text.empty()) {
      out->append("null");
    } else {
      AppendJsonString(out, Clip(text, kMaxParamBytes));
    }
  };
  std::string out = R"({"error":{"message":)";
  AppendJsonString(&out, Clip(message, kMaxMessageBytes));
  out += R"(,"type":)";
  AppendJsonString(&out, TypeOf(status));
  out += R"(,"param":)";
  string_or_null(&out, param);
  out += R"(,"code":)";
  string_or_null(&out, code);
  out += "}}";
  return out;
}

std::string ErrorJson(const Error& error) {
  return ErrorJson(HttpStatusOf(error.code), error.message, error.param, CodeOf(error));
}

std::string AnthropicErrorJson(int status, std::string_view message) {
  std::string out = R"({"type":"error","error":{"type":)";
  AppendJsonString(&out, AnthropicTypeOf(status));
  out += R"(,"message":)";
  AppendJsonString(&out, Clip(message, kMaxMessageBytes));
  out += "}}";
  return out;
}

HttpResponse ShapedFor(std::string_view path, HttpResponse error) {
  constexpr std::string_view kMessages = "/v1/messages";
  const bool theirs = path == kMessages || path.starts_with(std::string(kMessages) + "/");
  if (theirs && error.status >= 400) {
    error.body = AnthropicErrorJson(error.status, error.error_message);
  }
  return error;
}

HttpResponse ErrorResponse(const Error& error) {
  HttpResponse response;
  response.error_message = error.message;
  response.status = HttpStatusOf(error.code);
  response.body = ErrorJson(error);
  AddRetryHeaders(&response);
  return response;
}

HttpResponse ErrorResponse(int status, std::string_view message, std::string_view code) {
  HttpResponse response;
  response.status = status;
  response.error_message = std::string(message);
  response.body = ErrorJson(status, message, {}, code);
  AddRetryHeaders(&response);
  return response;
}

}  // namespace slipstream
