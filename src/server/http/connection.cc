#include "server/http/connection.h"

#include <fmt/core.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "server/http/http_errors.h"
#include "server/http/request_line.h"

namespace slipstream {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;

constexpr asio::as_tuple_t<asio::use_awaitable_t<IoExecutor>> kAwait{
    asio::use_awaitable_t<IoExecutor>{}};
// A refused request whose body is no longer than this is read, to keep its connection.
constexpr uint64_t kMaxDrainedBody = 64 << 10;
constexpr double kLingerSeconds = 5;
constexpr size_t kMaxLingerBytes = size_t{256} << 20;

HttpResponse ResponseToBrokenRequest(const beast::error_code& ec, const ServerConfig& config) {
  if (ec == http::error::body_limit) {
    return ErrorResponse(
        413,
        "the body is larger than the limit of " + std::to_string(config.max_body_bytes) + " bytes",
        "body_too_large");
  }
  if (ec == http::error::header_limit) {
    return ErrorResponse(431, "the headers are larger than the limit of " +
                                  std::to_string(config.max_header_bytes) + " bytes");
  }
  return ErrorResponse(400, "malformed HTTP request: " + ec.message());
}

// All transfer codings of a request in one list; empty if there are none.
std::string TransferCodings(const http::fields& head) {
  std::string all;
  const auto [begin, end] = head.equal_range(http::field::transfer_encoding);
  for (auto it = begin; it != end; ++it) {
    if (!all.empty()) all += ", ";
    all += it->value();
  }
  return all;
}

// True for errors of what was sent, false for those of the connection.
bool IsClientsFault(const beast::error_code& ec) {
  return ec.category() == http::make_error_code(http::error::bad_method).category() &&
         ec != http::error::end_of_stream && ec != http::error::partial_message;
}

}  // namespace

struct Connection::Reading {
  http::request_parser<http::string_body> parser;
};

Connection::Connection(Shard& shard, TcpSocket socket)
    : shard_(shard),
      context_(shard.context()),
      socket_(std::move(socket)),
      wake_(shard.io().get_executor()) {
  context_.metrics.open_connections.fetch_add(1);
}

Connection::~Connection() { context_.metrics.open_connections.fetch_sub(1); }

void Connection::Start() {
  asio::co_spawn(
      shard_.io(), [self = shared_from_this()] { return self->Serve(); },
      [self = shared_from_this()](std::exception_ptr failure) {
        if (failure) {  // allocation; this connection ends, the server goes on
          try {
            std::rethrow_exception(failure);
          } catch (const std::exception& e) {
            LogError("connection failed: {}", e.what());
          }
        }
        self->Break();
        self->shard_.Forget(self.get());
      });
}

IoTask<void> Connection::Serve() {
  if (context_.certificate && !co_await Secure()) co_return;
  while (!broken_) {
    if (!co_await ReadRequest()) break;
    Dispatch();
    if (open_ && !answered_) WatchPeer();
    while (open_) co_await Notified();
    if (watching_ && !broken_) {
      beast::error_code ignored;
      socket_.tcp().cancel(ignored);
      while (watching_) co_await Notified();
    }
    if (!keep_alive_ || context_.draining) break;
  }
  if (broken_) co_return;
  if (linger_) {
    co_await Linger();
  } else if (auto* tls = socket_.tls()) {
    state_ = State::kClosing;
    SetDeadline(kLingerSeconds);
    co_await tls->async_shutdown(kAwait);  // tells the client that nothing was cut off
  }
}

IoTask<bool> Connection::Secure() {
  constexpr unsigned char kHandshake = 22;  // the first byte of TLS: RFC 8446, 5.1
  state_ = State::kReading;
  SetDeadline(context_.config.header_timeout_seconds);
  unsigned char first = 0;
  const auto [failed, n] = co_await socket_.tcp().async_receive(
      asio::buffer(&first, 1), asio::socket_base::message_peek, kAwait);
  if (failed || n == 0 || broken_) co_return false;
  if (first != kHandshake) {
    EnsureRecord();
    RefuseAndClose(ErrorResponse(400, "this port speaks TLS: use https://", "tls_required"));
    Dispatch();
    while (open_) co_await Notified();
    if (!broken_) co_await Linger();
    co_return false;
  }
  const auto [ec] = co_await socket_.Secure(context_.certificate->current())
                        .async_handshake(asio::ssl::stream_base::server, kAwait);
  if (ec) context_.metrics.tls_handshake_failures_total.Add();
  co_return !ec && !broken_;
}

IoTask<void> Connection::Notified() {
  wake_.expires_at(IoTimer::time_point::max());
  co_await wake_.async_wait(kAwait);
}

void Connection::Notify() { wake_.cancel(); }

// RFC 9112, 2.2: clients are known to send an empty line after a body.
bool Connection::SkipEmptyLines() {
  const auto text = [this] {
    return std::string_view(static_cast<const char*>(in_.data().data()), in_.size());
  };
  while (text().starts_with("\r\n")) in_.consume(2);
  return !text().empty() && text() != "\r";
}

IoTask<bool> Connection::ReadRequest() {
  state_ = State::kWaiting;
  refusal_.reset();
  route_ = nullptr;
  request_ = HttpRequest();
  record_.reset();
  is_head_ = false;
  SetDeadline(context_.config.idle_timeout_seconds);
  while (!SkipEmptyLines()) {
    const auto [ec, n] = co_await socket_.async_read_some(in_.prepare(4096), kAwait);
    in_.commit(n);
    if (ec || broken_) co_return false;
  }

  state_ = State::kReading;
  fresh_ = false;
  SetDeadline(context_.config.header_timeout_seconds);
  Reading reading;
  reading.parser.header_limit(static_cast<uint32_t>(context_.config.max_header_bytes));
  reading.parser.body_limit(context_.config.max_body_bytes);
  const beast::error_code ec = co_await ReadHead(reading);
  if (broken_) co_return false;
  if (ec) {
    if (!IsClientsFault(ec)) co_return false;
    // A length over the limit is found when the head was read.
    if (ec == http::error::body_limit) {
      TakeHead(reading);
    } else {
      EnsureRecord();
      TakeRequestLine(reading);
    }
    RefuseAndClose(ResponseToBrokenRequest(ec, context_.config));
    co_return true;
  }
  TakeHead(reading);
  CheckHead(reading);
  if (linger_) co_return true;  // what follows cannot be told apart from a body
  co_return co_await ReadBody(reading);
}

// The parser's own limit is one of what it has not understood yet: it takes any number of short
// lines that come one by one.
IoTask<beast::error_code> Connection::ReadHead(Reading& reading) {
  size_t taken = 0;
  while (!reading.parser.is_header_done()) {
    const auto [ec, n] = co_await http::async_read_some(socket_, in_, reading.parser, kAwait);
    taken += n;
    if (ec || broken_) co_return ec;
    if (taken > context_.config.max_header_bytes) co_return http::error::header_limit;
  }
  co_return beast::error_code();
}

IoTask<bool> Connection::ReadBody(Reading& reading) {
  auto& parser = reading.parser;
  const bool expects = beast::iequals(parser.get()[http::field::expect], "100-continue");
  if (refusal_) {
    const auto length = parser.content_length();
    const bool has_body = parser.chunked() || (length && *length > 0);
    if (has_body && (expects || !length || *length > kMaxDrainedBody)) {
      keep_alive_ = false;
      linger_ = true;
      co_return true;
    }
  } else if (expects) {
    pending_ += "HTTP/1.1 100 Continue\r\n\r\n";
    Flush();
  }
  if (!parser.is_done()) {
    SetDeadline(context_.config.body_timeout_seconds);
    const auto [ec, n] = co_await http::async_read(socket_, in_, parser, kAwait);
    if (broken_) co_return false;
    if (ec) {
      if (!IsClientsFault(ec)) co_return false;
      RefuseAndClose(ResponseToBrokenRequest(ec, context_.config));
      co_return true;
    }
  }
  request_.body = std::move(parser.get().body());
  if (in_.size() == 0) in_.shrink_to_fit();  // thousands of open streams need no read buffers
  co_return true;
}

void Connection::TakeHead(const Reading& reading) {
  const auto& head = reading.parser.get();
  const auto text = [&](http::field name) { return std::string(head[name]); };
  request_.method = std::string(head.method_string());
  request_.path = PathOf({head.target().data(), head.target().size()});
  request_.authorization = text(http::field::authorization);
  // Anthropic's clients have another place for the key.
  const std::string_view key(head["x-api-key"].data(), head["x-api-key"].size());
  if (request_.authorization.empty() && !key.empty()) {
    request_.authorization = "Bearer " + std::string(key);
  }
  request_.content_type = text(http::field::content_type);
  request_.content_encoding = text(http::field::content_encoding);
  request_.origin = text(http::field::origin);
  is_head_ = request_.method == "HEAD";
  keep_alive_ = head.keep_alive();
  chunked_ = head.version() >= 11;
  EnsureRecord();
  record_->method = request_.method.substr(0, 32);
  record_->path = request_.path;
  record_->trace_id = TraceIdOf({head["traceparent"].data(), head["traceparent"].size()});
  const std::string_view id(head["x-request-id"].data(), head["x-request-id"].size());
  if (IsSaneRequestId(id)) record_->request_id = id;
}

// Of a head that cannot be read whole, for the log and the shape of the error.
void Connection::TakeRequestLine(const Reading& reading) {
  const auto& head = reading.parser.get();
  RequestLine line{{head.method_string().data(), head.method_string().size()},
                   {head.target().data(), head.target().size()}};
  if (line.target.empty()) {  // not parsed yet
    line = RequestLineOf({static_cast<const char*>(in_.data().data()), in_.size()});
  }
  record_->method = line.method.substr(0, 32);
  record_->path = PathOf(line.target.substr(0, 1024));
}

void Connection::EnsureRecord() {
  record_ = std::make_shared<RequestRecord>();
  record_->start_us = NowUs();
}

void Connection::CheckHead(const Reading& reading) {
  Router::Match match = context_.router.Find(request_.method, request_.path);
  if (match.route == nullptr && match.allow.empty()) {
    // Clients of llama.cpp have base URLs without /v1.
    const std::string longer = "/v1" + request_.path;
    match = context_.router.Find(request_.method, longer);
    if (match.route != nullptr) request_.path = longer;
  }
  route_ = match.route;
  const std::string codings = TransferCodings(reading.parser.get());
  if (!codings.empty() && !beast::iequals(codings, "chunked")) {
    // Where the body ends is in a coding that was not undone.
    return RefuseAndClose(ErrorResponse(
        501, "transfer-encoding " + codings.substr(0, 100) + " is not supported, only chunked",
        "unsupported_transfer_encoding"));
  }
  if (route_ == nullptr && request_.method == "OPTIONS" && context_.config.cors) {
    refusal_ = HttpResponse{204,
                            "",
                            "",
                            {{"access-control-allow-methods", "GET, POST, DELETE, OPTIONS"},
                             {"access-control-allow-headers", "*"},
                             {"access-control-max-age", "600"}}};
  } else if (route_ == nullptr && match.allow.empty()) {
    refusal_ =
        ErrorResponse(404, "there is no route " + request_.path.substr(0, 200), "unknown_route");
  } else if (route_ == nullptr) {
    refusal_ = ErrorResponse(
        405, request_.path + " does not take " + request_.method + ", only " + match.allow,
        "method_not_allowed");
    refusal_->headers.emplace_back("allow", match.allow);
  } else {
    if (route_->needs_key) CheckKey();
    const auto timeout = reading.parser.get()["x-request-timeout"];
    if (!refusal_) CheckContent({timeout.data(), timeout.size()});
  }
}

void Connection::CheckKey() {
  if (!context_.keys->required()) return;
  record_->key = context_.keys->Find(request_.authorization);
  if (!record_->key) {
    refusal_ = ErrorResponse({ErrorCode::kUnauthenticated,
                              request_.authorization.empty()
                                  ? "an API key is needed: Authorization: Bearer KEY"
                                  : "the API key is not known",
                              {}});
    refusal_->headers.emplace_back("www-authenticate", "Bearer");
    return;
  }
  if (request_.method != "POST") return;
  if (const auto over = record_->key->Enter(NowUs())) {
    context_.metrics.rejected_key_limit_total.Add();
    refusal_ = ErrorResponse(429, over->message, "rate_limit_exceeded");
    for (auto& [name, value] : refusal_->headers) {
      if (name == "retry-after") value = std::to_string(over->retry_after_seconds);
    }
    return;
  }
  record_->permit = std::make_shared<KeyPermit>(record_->key);
}

void Connection::CheckContent(std::string_view timeout) {
  if (!request_.content_encoding.empty() && request_.content_encoding != "identity") {
    refusal_ = ErrorResponse(415, "content-encoding is not supported; send the body as it is",
                             "unsupported_content_encoding");
    return;
  }
  if (timeout.empty()) return;
  record_->max_seconds = ParseSeconds(timeout);
  if (record_->max_seconds) return;
  refusal_ = ErrorResponse({ErrorCode::kInvalidArgument,
                            "x-request-timeout must be a number of seconds, more than 0 and at "
                            "most 86400",
                            "x-request-timeout"});
}

void Connection::RefuseAndClose(HttpResponse response) {
  refusal_ = std::move(response);
  keep_alive_ = false;
  linger_ = true;
}

void Connection::Dispatch() {
  state_ = State::kHandling;
  deadline_us_ = 0;
  open_ = true;
  answered_ = false;
  streaming_ = false;
  body_.clear();
  last_output_us_ = shard_.tick_us();
  context_.open_exchanges.fetch_add(1);
  if (record_->request_id.empty()) {
    record_->request_id =
        fmt::format("req-{:016x}", context_.id_seed + context_.next_request.fetch_add(1));
  }
  if (refusal_) return Respond(ShapedFor(record_->path, std::move(*refusal_)));
  // Handlers do not throw but for want of memory: that is this request's error.
  try {
    route_->handler(shared_from_this(), std::move(request_));
  } catch (const std::exception& e) {
    LogError("request {} failed: {}", record_->request_id, e.what());
    Respond(
        ShapedFor(record_->path, ErrorResponse(500, "the server could not handle the request")));
  }
}

IoTask<void> Connection::Linger() {
  state_ = State::kClosing;
  SetDeadline(kLingerSeconds);
  beast::error_code ec;
  TcpSocket& socket = socket_.tcp();  // under TLS too it is raw bytes that are dropped
  socket.shutdown(asio::socket_base::shutdown_send, ec);
  size_t dropped = 0;
  while (!ec && !broken_ && dropped < kMaxLingerBytes) {
    in_.clear();
    const auto [failed, n] = co_await socket.async_read_some(in_.prepare(64 << 10), kAwait);
    ec = failed;
    dropped += n;
  }
}

void Connection::SetDeadline(double seconds) {
  deadline_us_ = seconds > 0 ? shard_.tick_us() + static_cast<int64_t>(seconds * 1e6) : 0;
}

}  // namespace slipstream
