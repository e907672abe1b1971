#include "server/http/connection.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <exception>
#include <utility>

#include "base/log.h"
#include "server/api_keys.h"
#include "server/http/http_errors.h"

namespace slipstream {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;

constexpr asio::as_tuple_t<asio::use_awaitable_t<IoExecutor>> kAwait{
    asio::use_awaitable_t<IoExecutor>{}};
// A refused request whose body is no longer than this is read, to keep its connection.
constexpr uint64_t kMaxDrainedBody = 64 << 10;
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

// The path of a request target, without the query: RFC 9112, 3.2. A proxy is sent the absolute
// form, and every server must take it.
std::string PathOf(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!beast::iequals(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    if (!target.starts_with('/')) return "/";
    break;
  }
  return std::string(target.substr(0, target.find('?')));
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
  while (!broken_) {
    if (!co_await ReadRequest()) break;
    Dispatch();
    if (open_ && !answered_) WatchPeer();
    while (open_) co_await Notified();
    if (watching_ && !broken_) {
      beast::error_code ignored;
      socket_.cancel(ignored);
      while (watching_) co_await Notified();
    }
    if (!keep_alive_ || context_.draining) break;
  }
  if (!broken_ && linger_) co_await Linger();
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
  request_id_.clear();
  is_head_ = false;
  SetDeadline(context_.config.idle_timeout_seconds);
  while (!SkipEmptyLines()) {
    const auto [ec, n] = co_await socket_.async_read_some(in_.prepare(4096), kAwait);
    in_.commit(n);
    if (ec || broken_) co_return false;
  }

  state_ = State::kReading;
  SetDeadline(context_.config.header_timeout_seconds);
  Reading reading;
  reading.parser.header_limit(static_cast<uint32_t>(context_.config.max_header_bytes));
  reading.parser.body_limit(context_.config.max_body_bytes);
  const auto [ec, n] = co_await http::async_read_header(socket_, in_, reading.parser, kAwait);
  if (broken_) co_return false;
  if (ec) {
    if (!IsClientsFault(ec)) co_return false;
    RefuseAndClose(ResponseToBrokenRequest(ec, context_.config));
    co_return true;
  }
  TakeHead(reading);
  CheckHead(reading);
  if (linger_) co_return true;  // what follows cannot be told apart from a body
  co_return co_await ReadBody(reading);
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
  request_.content_type = text(http::field::content_type);
  request_.content_encoding = text(http::field::content_encoding);
  request_.origin = text(http::field::origin);
  is_head_ = request_.method == "HEAD";
  keep_alive_ = head.keep_alive();
  chunked_ = head.version() >= 11;
  const std::string id(head["x-request-id"]);
  const bool printable =
      std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!id.empty() && id.size() <= 128 && printable) request_id_ = id;
}

void Connection::CheckHead(const Reading& reading) {
  Router::Match match = context_.router.Find(request_.method, request_.path);
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
                            {{"access-control-allow-methods", "GET, POST, OPTIONS"},
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
  } else if (route_->needs_key &&
             !ApiKeyIsKnown(context_.config.api_keys, request_.authorization)) {
    refusal_ = ErrorResponse({ErrorCode::kUnauthenticated,
                              request_.authorization.empty()
                                  ? "an API key is needed: Authorization: Bearer KEY"
                                  : "the API key is not known",
                              {}});
    refusal_->headers.emplace_back("www-authenticate", "Bearer");
  } else if (!request_.content_encoding.empty() && request_.content_encoding != "identity") {
    refusal_ = ErrorResponse(415, "content-encoding is not supported; send the body as it is",
                             "unsupported_content_encoding");
  }
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
  if (request_id_.empty()) {
    request_id_ = fmt::format("req-{:016x}", context_.id_seed + context_.next_request.fetch_add(1));
  }
  if (refusal_) return Respond(std::move(*refusal_));
  // Handlers do not throw but for want of memory: that is this request's error.
  try {
    route_->handler(shared_from_this(), std::move(request_));
  } catch (const std::exception& e) {
    LogError("request {} failed: {}", request_id_, e.what());
    Respond(ErrorResponse(500, "the server could not handle the request"));
  }
}

IoTask<void> Connection::Linger() {
  state_ = State::kClosing;
  SetDeadline(5);
  beast::error_code ec;
  socket_.shutdown(asio::socket_base::shutdown_send, ec);
  size_t dropped = 0;
  while (!ec && !broken_ && dropped < kMaxLingerBytes) {
    in_.clear();
    const auto [failed, n] = co_await socket_.async_read_some(in_.prepare(64 << 10), kAwait);
    ec = failed;
    dropped += n;
  }
}

void Connection::SetDeadline(double seconds) {
  deadline_us_ = seconds > 0 ? shard_.tick_us() + static_cast<int64_t>(seconds * 1e6) : 0;
}

}  // namespace slipstream
