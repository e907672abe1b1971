// HTTP requests from any bytes, to a real listener over a socket. The answers are those of HTTP,
// the connection is closed in the end, and how the bytes were cut on their way changes nothing.
#include <algorithm>
#include <memory>

#include "config/server_config.h"
#include "server/api_keys.h"
#include "server/http/listener.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/local_socket.h"

namespace slipstream::fuzz {
namespace {

void Echo(const std::shared_ptr<Exchange>& exchange, HttpRequest&& request) {
  HttpResponse response;
  response.body = request.method + " " + request.path + "\n" + std::move(request.body);
  exchange->Respond(std::move(response));
}

void Stream(const std::shared_ptr<Exchange>& exchange, HttpRequest&& request) {
  exchange->BeginStream("text/event-stream", {});
  for (const char c : request.body.substr(0, 100)) {
    exchange->stream_buffer() += std::string("data: ") + (c == '\n' ? ' ' : c) + "\n\n";
    exchange->FlushStream();
  }
  exchange->EndStream();
}

class Listener {
 public:
  Listener() {
    ServerConfig config;
    config.port = 0;
    config.io_threads = 1;
    config.max_header_bytes = 1024;
    config.max_body_bytes = 2048;
    config.cors = true;
    config.log_requests = false;
    Router router;
    router.Add({"POST", "/echo", false, &Echo});
    router.Add({"GET", "/echo", false, &Echo});
    router.Add({"POST", "/stream", true, &Stream});
    auto keys = ApiKeys::Open({"k"}, "");
    Require(keys.has_value(), "a key is taken");
    auto started = HttpListener::Start(config, std::move(router), metrics_, std::move(*keys));
    Require(started.has_value(), "the listener starts");
    listener_ = std::move(*started);
  }
  uint16_t port() const { return listener_->port(); }

 private:
  ServerMetrics metrics_{4096};
  std::unique_ptr<HttpListener> listener_;
};

// Without what differs from one answer to the next.
std::string WithoutIds(std::string text) {
  for (const std::string_view name : {"\r\nx-request-id: req-", "\r\ndate: "}) {
    for (size_t at = 0; (at = text.find(name, at)) != std::string::npos;) {
      text.erase(at, text.find("\r\n", at + 2) - at);
    }
  }
  return text;
}

std::string Answers(uint16_t port, const std::vector<std::string_view>& pieces, bool* reset) {
  const int fd = ConnectTo(port);
  for (const std::string_view piece : pieces) {
    if (!SendAll(fd, piece)) break;
  }
  shutdown(fd, SHUT_WR);
  const std::string answers = ReadAll(fd, reset);
  close(fd);
  Require(answers.empty() || answers.starts_with("HTTP/1.1 "), "what is answered is HTTP");
  return WithoutIds(answers);
}

// Without the refusal of a last request whose head is broken: whether it gets one if it was never
// sent to its end, which of its faults is named, and whether its path is known, which decides the
// shape of the error, depend on how much of it the parser saw at once.
std::string_view WithoutRefusedHead(std::string_view answers) {
  for (const std::string_view refusal :
       {"HTTP/1.1 400 Bad Request\r\nserver: ",
        "HTTP/1.1 431 Request Header Fields Too Large\r\nserver: "}) {
    const size_t last = answers.rfind(refusal);
    if (last == std::string_view::npos) continue;
    const std::string_view rest = answers.substr(last);
    if (rest.find("\r\nconnection: close\r\n") != std::string_view::npos &&
        rest.find("HTTP/1.1 ", 1) == std::string_view::npos) {
      return answers.substr(0, last);
    }
  }
  return answers;
}

bool SameAnswers(std::string_view a, std::string_view b) {
  return WithoutRefusedHead(a) == WithoutRefusedHead(b);
}

}  // namespace
}  // namespace slipstream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipstream;  // NOLINT(google-build-using-namespace)
  static const auto* listener = new fuzz::Listener;
  const std::string_view text = fuzz::Text(data, size);
  bool whole_reset = false, cut_reset = false;
  const std::string whole = fuzz::Answers(listener->port(), {text}, &whole_reset);
  const std::string cut = fuzz::Answers(listener->port(), fuzz::Cut(text, size, 64), &cut_reset);
  if (fuzz::SameAnswers(whole, cut) || whole_reset || cut_reset) return 0;
  std::fprintf(stderr, "whole:\n%s\ncut:\n%s\n", whole.c_str(), cut.c_str());
  fuzz::Require(false, "the answers do not depend on how the request was cut");
  return 0;
}
