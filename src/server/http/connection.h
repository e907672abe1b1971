// One TCP connection: a coroutine that reads requests one after the other, and the Exchange that
// handlers answer on. Written output is gathered while a write is under way and leaves in one piece
// after it, so a burst of token events costs one system call. While a handler works, the socket is
// read ahead to notice that the client left. Its shard's thread only. Internal to http/.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <memory>
#include <optional>
#include <string>

#include "server/http/exchange.h"
#include "server/http/shard.h"
#include "server/http/transport.h"

namespace slipstream {

class Connection final : public Exchange, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Shard& shard, TcpSocket socket);
  ~Connection() override;

  void Start();
  void Tick(int64_t now_us);
  // For the drain: closes a connection between two requests; others close after their answer.
  void CloseIfIdle();
  // Gives the client up: closes the socket and tells the handler.
  void Break();

  EventLoop& loop() override { return shard_; }
  const std::shared_ptr<RequestRecord>& record() const override { return record_; }
  void Respond(HttpResponse response) override;
  void BeginStream(const std::string& content_type, const HttpHeaders& headers) override;
  std::string& stream_buffer() override { return body_; }
  void FlushStream() override;
  void EndStream() override;
  void SetHooks(std::shared_ptr<ExchangeHooks> hooks) override;

 private:
  enum class State { kWaiting, kReading, kHandling, kClosing };
  struct Reading;  // Beast's parser; only in the source file

  IoTask<void> Serve();
  // The TLS handshake. False: there was none; a client that speaks plain HTTP has been told.
  IoTask<bool> Secure();
  // True: request_ is read, or refusal_ says why it is not. False: the client is gone.
  IoTask<bool> ReadRequest();
  // Drops empty lines before a request line; true when something else is there.
  bool SkipEmptyLines();
  IoTask<boost::system::error_code> ReadHead(Reading& reading);
  IoTask<bool> ReadBody(Reading& reading);
  // Reads and drops what a refused client still sends, so that it gets to read the answer.
  IoTask<void> Linger();
  IoTask<void> Notified();
  // Fills request_ and route_; sets refusal_ if the head alone is reason enough.
  void TakeHead(const Reading& reading);
  void TakeRequestLine(const Reading& reading);
  void CheckHead(const Reading& reading);
  // Whether the client may use the route now; otherwise refusal_ is set.
  void CheckKey();
  void CheckContent(std::string_view timeout);
  void EnsureRecord();
  void RefuseAndClose(HttpResponse response);
  void Dispatch();

  void WatchPeer();
  void Notify();
  void AppendHead(int status, std::string_view content_type, const HttpHeaders& headers);
  void FrameBody();
  void Flush();
  void WriteSome();
  void CloseExchange();
  void LogExchange();
  void SetDeadline(double seconds);

  Shard& shard_;
  HttpContext& context_;
  Transport socket_;
  IoTimer wake_;
  boost::beast::flat_buffer in_;
  State state_ = State::kWaiting;
  int64_t deadline_us_ = 0;  // 0: none

  // The exchange in hand.
  HttpRequest request_;
  std::optional<HttpResponse> refusal_;
  std::shared_ptr<RequestRecord> record_;
  const Route* route_ = nullptr;
  std::shared_ptr<ExchangeHooks> hooks_;
  bool open_ = false;      // between Dispatch and the last byte written
  bool answered_ = false;  // Respond or EndStream was called
  bool streaming_ = false;
  bool chunked_ = false;  // false: HTTP/1.0, the close ends the body
  bool is_head_ = false;
  bool keep_alive_ = true;
  bool linger_ = false;  // unread input: see Linger

  // Output: body_ -> (framing) -> pending_ -> inflight_ -> socket.
  std::string body_, pending_, inflight_;
  size_t inflight_offset_ = 0;
  bool writing_ = false;
  int64_t last_progress_us_ = 0;
  int64_t last_output_us_ = 0;

  bool fresh_ = true;  // no byte of a request yet
  bool watching_ = false;
  bool broken_ = false;
};

}  // namespace slipstream
