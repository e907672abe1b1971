// The half of Connection that answers: framing, gathering, writing, limits.
#include <boost/asio/buffer.hpp>
#include <cstdio>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "server/http/connection.h"
#include "server/http/http_errors.h"
#include "server/json_text.h"

namespace slipstream {
namespace {

constexpr size_t kKeptBufferBytes = 4 << 10;  // larger ones are given back when empty

void ClearBuffer(std::string* buffer) {
  if (buffer->capacity() > kKeptBufferBytes) {
    std::string().swap(*buffer);
  } else {
    buffer->clear();
  }
}

}  // namespace

void Connection::SetHooks(std::shared_ptr<ExchangeHooks> hooks) {
  if (open_ && !answered_) hooks_ = std::move(hooks);
}

void Connection::AppendHead(int status, std::string_view content_type, const HttpHeaders& headers) {
  record_->status = status;
  ServerMetrics& metrics = context_.metrics;
  (status < 400   ? metrics.http_responses_2xx_total
   : status < 500 ? metrics.http_responses_4xx_total
                  : metrics.http_responses_5xx_total)
      .Add();
  std::string& out = pending_;
  out += "HTTP/1.1 ";
  AppendInt(&out, status);
  out += ' ';
  out += ReasonPhrase(status);
  out += "\r\nserver: slipstream\r\ndate: ";
  out += shard_.date();
  out += "\r\nx-request-id: ";
  out += record_->request_id;
  if (!content_type.empty()) {
    out += "\r\ncontent-type: ";
    out += content_type;
  }
  if (context_.config.cors) {
    out += "\r\naccess-control-allow-origin: *\r\naccess-control-expose-headers: *";
  }
  for (const auto& [name, value] : headers) {
    out += "\r\n";
    out += name;
    out += ": ";
    out += value;
  }
  if (context_.draining) keep_alive_ = false;
  out += keep_alive_ ? "\r\nconnection: keep-alive" : "\r\nconnection: close";
}

void Connection::Respond(HttpResponse response) {
  if (!open_ || answered_ || streaming_) return;
  AppendHead(response.status, response.content_type, response.headers);
  if (response.status != 204) {
    pending_ += "\r\ncontent-length: ";
    AppendInt(&pending_, static_cast<long long>(response.body.size()));
  }
  pending_ += "\r\n\r\n";
  if (!is_head_) pending_ += response.body;
  answered_ = true;
  record_->permit.reset();
  hooks_.reset();
  Flush();
}

void Connection::BeginStream(const std::string& content_type, const HttpHeaders& headers) {
  if (!open_ || answered_ || streaming_) return;
  streaming_ = true;
  if (!chunked_) keep_alive_ = false;
  AppendHead(200, content_type, headers);
  if (chunked_) pending_ += "\r\ntransfer-encoding: chunked";
  pending_ += "\r\n\r\n";
}

void Connection::FrameBody() {
  if (body_.empty()) return;
  if (chunked_) {
    char size[20];
    const int n = std::snprintf(size, sizeof size, "%zx\r\n", body_.size());
    pending_.append(size, static_cast<size_t>(n));
  }
  pending_ += body_;
  if (chunked_) pending_ += "\r\n";
  ClearBuffer(&body_);
}

void Connection::FlushStream() {
  if (!streaming_ || answered_ || broken_) return ClearBuffer(&body_);
  FrameBody();
  if (pending_.size() > context_.config.max_pending_bytes) {
    context_.metrics.slow_clients_total.Add();
    LogWarning("request {}: the client does not read its stream, {} bytes wait; cut off",
               record_->request_id, pending_.size());
    return Break();
  }
  Flush();
}

void Connection::EndStream() {
  if (!streaming_ || answered_ || broken_) return;
  FrameBody();
  if (chunked_) pending_ += "0\r\n\r\n";
  answered_ = true;
  record_->permit.reset();
  hooks_.reset();
  Flush();
}

void Connection::Flush() {
  if (writing_ || broken_ || pending_.empty()) return;
  writing_ = true;
  inflight_.swap(pending_);
  inflight_offset_ = 0;
  last_output_us_ = last_progress_us_ = shard_.tick_us();
  WriteSome();
}

void Connection::WriteSome() {
  socket_.async_write_some(
      asio::buffer(inflight_.data() + inflight_offset_, inflight_.size() - inflight_offset_),
      [self = shared_from_this()](boost::system::error_code ec, size_t n) {
        if (ec) {
          self->writing_ = false;
          return self->Break();
        }
        self->inflight_offset_ += n;
        self->last_progress_us_ = self->shard_.tick_us();
        if (self->inflight_offset_ < self->inflight_.size()) return self->WriteSome();
        self->writing_ = false;
        ClearBuffer(&self->inflight_);
        if (!self->pending_.empty()) return self->Flush();
        if (self->answered_) self->CloseExchange();
      });
}

void Connection::CloseExchange() {
  if (!open_) return;
  open_ = false;
  context_.open_exchanges.fetch_sub(1);
  record_->permit.reset();
  LogExchange();
  Notify();
}

void Connection::LogExchange() {
  constexpr int kClientLeft = 499;  // what nginx writes
  if (!answered_) record_->status = kClientLeft;
  if (!context_.config.log_requests) return;
  // Probes and pages come every second, requests of clients do not.
  const bool shown = record_->status >= 400 || record_->method == "POST";
  LogRequest(shown ? LogLevel::kInfo : LogLevel::kDebug, *record_);
}

void Connection::Break() {
  if (broken_) return;
  broken_ = true;
  keep_alive_ = false;
  boost::system::error_code ignored;
  socket_.tcp().close(ignored);
  pending_.clear();
  body_.clear();
  const auto hooks = std::move(hooks_);
  hooks_.reset();
  if (hooks && open_) hooks->OnDisconnect();
  CloseExchange();
  Notify();
}

// A request that was sent before its client could know of the drain gets its answer: one that lies
// unread in the socket, and the first of a new connection.
void Connection::CloseIfIdle() {
  if (state_ != State::kWaiting || fresh_ || in_.size() > 0) return;
  boost::system::error_code ignored;
  if (socket_.tcp().available(ignored) == 0) Break();
}

void Connection::Tick(int64_t now_us) {
  if (broken_) return;
  const ServerConfig& config = context_.config;
  const auto passed = [&](int64_t since_us, double seconds) {
    return seconds > 0 && static_cast<double>(now_us - since_us) > seconds * 1e6;
  };
  if (deadline_us_ != 0 && now_us > deadline_us_) return Break();
  if (writing_ && passed(last_progress_us_, config.write_timeout_seconds)) {
    context_.metrics.slow_clients_total.Add();
    LogWarning("request {}: the client takes no byte; cut off", record_->request_id);
    return Break();
  }
  if (open_ && !answered_ && hooks_) {
    const auto hooks = hooks_;
    hooks->OnTick(NowUs());
  }
  if (open_ && !answered_ && hooks_ && !writing_ &&
      passed(last_output_us_, config.keep_alive_comment_seconds)) {
    last_output_us_ = now_us;
    const auto hooks = hooks_;
    hooks->OnIdle();
  }
}

void Connection::WatchPeer() {
  // A client that has sent so much ahead is not read further until it gets its answer.
  if (watching_ || broken_ || in_.size() >= context_.config.max_header_bytes) return;
  watching_ = true;
  socket_.async_read_some(in_.prepare(512),
                          [self = shared_from_this()](boost::system::error_code ec, size_t n) {
                            self->watching_ = false;
                            self->in_.commit(n);
                            if (ec && ec != asio::error::operation_aborted) return self->Break();
                            if (!ec && self->open_) self->WatchPeer();
                            self->Notify();
                          });
}

}  // namespace slipstream
