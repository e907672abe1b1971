// The JSON bodies of every endpoint. The first line of the input is the path, the rest the body: it
// goes through the real handler, service, engine and output parser, with a model that answers at
// once. Every exchange gets exactly one answer, which is JSON or a stream of events.
#include <nlohmann/json.hpp>

#include "tests/fuzz/api_harness.h"
#include "tests/fuzz/fuzz.h"

namespace slipstream::fuzz {
namespace {

bool IsJson(std::string_view text) { return nlohmann::json::accept(text); }

// "event: NAME" and "data: JSON" lines, comments, blank lines.
void RequireEvents(std::string_view stream) {
  while (!stream.empty()) {
    const std::string_view line = TakeLine(&stream);
    if (line.starts_with("data: ")) {
      const std::string_view data = line.substr(6);
      Require(data == "[DONE]" || IsJson(data), "the data of an event is JSON");
    } else {
      Require(line.empty() || line.starts_with(":") || line.starts_with("event: "),
              "a stream has nothing but events");
    }
  }
}

void RequireAnswer(const ApiAnswer& answer) {
  if (answer.streamed) return RequireEvents(answer.body);
  Require(answer.status >= 200 && answer.status < 600, "the status is one of HTTP");
  // Only what the model wrote may be one: no call although one was asked for.
  const bool model = answer.body.find("the model ") != std::string::npos;
  Require(answer.status != 500 || model, "no input is an internal error");
  Require(IsJson(answer.body), "the body is JSON");
  if (answer.status >= 400) {
    Require(nlohmann::json::parse(answer.body).contains("error"), "a refusal says why");
  }
}

}  // namespace
}  // namespace slipstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipstream;  // NOLINT(google-build-using-namespace)
  static auto* api = new fuzz::ApiHarness;
  std::string_view body = fuzz::Text(data, size);
  const std::string_view path = fuzz::TakeLine(&body);
  if (const auto answer = api->Ask(path, body)) fuzz::RequireAnswer(*answer);
  return 0;
}
