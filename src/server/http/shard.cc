#include "server/http/shard.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <ctime>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "server/http/connection.h"

namespace slipstream {
namespace {

// Often enough to keep every limit within a tenth of itself, at most 100 times a second.
std::chrono::microseconds TickLength(const ServerConfig& config) {
  double shortest = 2.5;
  for (const double limit : {config.header_timeout_seconds, config.body_timeout_seconds,
                             config.idle_timeout_seconds, config.write_timeout_seconds,
                             config.keep_alive_comment_seconds, config.request_timeout_seconds}) {
    if (limit > 0) shortest = std::min(shortest, limit);
  }
  return std::chrono::microseconds(static_cast<int64_t>(std::max(0.01, shortest / 10) * 1e6));
}

std::string HttpDate() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[40];
  const size_t n = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return std::string(text, n);
}

}  // namespace

Shard::Shard(HttpContext& context)
    : context_(context),
      work_(asio::make_work_guard(io_)),
      ticker_(io_.get_executor()),
      tick_length_(TickLength(context.config)),
      last_tick_us_(NowUs()),
      tick_us_(last_tick_us_) {
  mailbox_ = std::make_shared<Mailbox<StreamMail>>(
      [this] { asio::post(io_, [mailbox = mailbox_] { DeliverMail(*mailbox); }); });
}

Shard::~Shard() {
  mailbox_->Close();
  Join();
}

void Shard::Start() {
  Tick();
  thread_ = std::thread([this] { Run(); });
}

void Shard::Run() {
  // Only allocation throws here; the handler in hand is lost, the thread goes on.
  while (true) {
    try {
      io_.run();
      return;
    } catch (const std::exception& e) {
      LogError("I/O thread: {}", e.what());
    }
  }
}

void Shard::Adopt(TcpSocket socket) {
  // Accepted by another shard's thread while this one was stopped: nothing would end it, and Join
  // would wait for it.
  if (stopping_) return;
  auto connection = std::make_shared<Connection>(*this, std::move(socket));
  connections_.insert(connection.get());
  connection->Start();
}

void Shard::CloseIdle() {
  Post([this] {
    for (Connection* connection : connections_) connection->CloseIfIdle();
  });
}

void Shard::Stop() {
  Post([this] {
    stopping_ = true;
    ticker_.cancel();
    work_.reset();
    for (Connection* connection : connections_) connection->Break();
  });
}

void Shard::Join() {
  if (thread_.joinable()) thread_.join();
}

void Shard::Post(std::function<void()> task) { asio::post(io_, std::move(task)); }

void Shard::Tick() {
  // A thread that was busy or not scheduled does not charge its own delay to its clients: what
  // they sent or took meanwhile is still unread in the queue behind this tick.
  const int64_t now_us = NowUs();
  const int64_t most_us = 2 * std::chrono::microseconds(tick_length_).count();
  tick_us_ += std::min(now_us - last_tick_us_, most_us);
  last_tick_us_ = now_us;
  date_ = HttpDate();
  for (Connection* connection : connections_) connection->Tick(tick_us_);
  ticker_.expires_after(tick_length_);
  ticker_.async_wait([this](boost::system::error_code ec) {
    if (!ec && !stopping_) Tick();
  });
}

}  // namespace slipstream
