// One I/O thread: its io_context, its connections, its mailbox of token events, and a clock tick
// that serves all time limits (no timer per connection). Internal to http/; Asio is allowed here.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <unordered_set>

#include "config/server_config.h"
#include "server/api_keys.h"
#include "server/event_loop.h"
#include "server/http/router.h"
#include "server/http/tls.h"
#include "server/server_metrics.h"

namespace slipstream {

namespace asio = boost::asio;
using IoExecutor = asio::io_context::executor_type;
using TcpSocket = asio::basic_stream_socket<asio::ip::tcp, IoExecutor>;
using IoTimer =
    asio::basic_waitable_timer<std::chrono::steady_clock,
                               asio::wait_traits<std::chrono::steady_clock>, IoExecutor>;
template <typename T>
using IoTask = asio::awaitable<T, IoExecutor>;

// What all connections of a listener share.
struct HttpContext {
  ServerConfig config;
  Router router;
  ServerMetrics& metrics;
  std::shared_ptr<ApiKeys> keys;
  std::shared_ptr<TlsCertificate> certificate;  // null: plain HTTP
  std::atomic<bool> draining{false};
  std::atomic<int64_t> open_exchanges{0};
  std::atomic<uint64_t> next_request{1};
  uint64_t id_seed = 0;
};

class Connection;

class Shard final : public EventLoop {
 public:
  explicit Shard(HttpContext& context);
  ~Shard() override;

  void Start();
  // Starts serving a socket of this shard's io_context; closes it after Stop. Its thread.
  void Adopt(TcpSocket socket);
  void CloseIdle();
  // Closes every connection; the thread ends when their coroutines have.
  void Stop();
  void Join();

  void Post(std::function<void()> task) override;
  const std::shared_ptr<Mailbox<StreamMail>>& mailbox() const override { return mailbox_; }

  asio::io_context& io() { return io_; }
  HttpContext& context() { return context_; }
  // Time of the tick in hand on this shard's own clock, in which the client limits are kept: it
  // stands still while the shard's thread is held up. Precise enough for limits in seconds.
  int64_t tick_us() const { return tick_us_; }
  const std::string& date() const { return date_; }  // of the Date header
  void Forget(Connection* connection) { connections_.erase(connection); }

 private:
  void Run();
  void Tick();

  HttpContext& context_;
  asio::io_context io_{1};
  asio::executor_work_guard<IoExecutor> work_;
  IoTimer ticker_;
  std::chrono::microseconds tick_length_;
  int64_t last_tick_us_;  // NowUs clock
  int64_t tick_us_;
  std::string date_;
  bool stopping_ = false;
  std::unordered_set<Connection*> connections_;
  std::shared_ptr<Mailbox<StreamMail>> mailbox_;
  std::thread thread_;
};

}  // namespace slipstream
