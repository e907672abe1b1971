// What a handler sees of HTTP: a request that was read whole, and an Exchange to answer it on.
// Everything here happens on the thread of the connection's loop. An Exchange may outlive its
// connection's socket; writing to it then does nothing. No call fails or throws.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/event_loop.h"
#include "server/request_record.h"

namespace slipstream {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;
  std::string path;           // without the query
  std::string authorization;  // header values; empty if absent
  std::string content_type;
  std::string content_encoding;
  std::string origin;
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers;
  std::string error_message = {};  // of errors: the body's, for APIs that show it in another shape
};

// What a handler that answers later hears of its client. Loop thread.
class ExchangeHooks {
 public:
  virtual ~ExchangeHooks() = default;
  // The client is gone or was cut off; the exchange is over.
  virtual void OnDisconnect() = 0;
  // No byte went out for keep_alive_comment_seconds.
  virtual void OnIdle() {}
  // Now and then, with the time of the NowUs clock.
  virtual void OnTick(int64_t now_us) { static_cast<void>(now_us); }
};

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual EventLoop& loop() = 0;
  // Who asks; the generation writes into it what became of it. Never null in a handler.
  virtual const std::shared_ptr<RequestRecord>& record() const = 0;

  // The whole answer. Ends the exchange.
  virtual void Respond(HttpResponse response) = 0;

  // An answer in pieces: BeginStream once, then append to stream_buffer() and FlushStream() in
  // turns, then EndStream. What is appended between flushes leaves in one write.
  virtual void BeginStream(const std::string& content_type, const HttpHeaders& headers) = 0;
  virtual std::string& stream_buffer() = 0;
  virtual void FlushStream() = 0;
  virtual void EndStream() = 0;

  // Held until the exchange ends.
  virtual void SetHooks(std::shared_ptr<ExchangeHooks> hooks) = 0;
};

// Called once per request on the loop's thread. Must lead to Respond or EndStream sooner or later.
using HttpHandler = std::function<void(const std::shared_ptr<Exchange>&, HttpRequest&&)>;

}  // namespace slipstream
