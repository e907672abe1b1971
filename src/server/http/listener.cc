#include "server/http/listener.h"

#include <fmt/core.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <exception>
#include <random>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/open_files.h"
#include "server/http/connection.h"
#include "server/http/http_errors.h"
#include "server/http/shard.h"

namespace slipstream {
namespace {

using asio::ip::tcp;
using boost::system::error_code;

constexpr int kBacklog = 4096;

int NumLoops(const ServerConfig& config) {
  if (config.io_threads > 0) return config.io_threads;
  return std::thread::hardware_concurrency() >= 8 ? 2 : 1;
}

class ListenerImpl final : public HttpListener {
 public:
  ListenerImpl(const ServerConfig& config, Router router, ServerMetrics& metrics,
               std::shared_ptr<ApiKeys> keys, std::shared_ptr<TlsCertificate> certificate)
      : context_{config, std::move(router), metrics, std::move(keys), std::move(certificate)} {
    context_.id_seed = (uint64_t{std::random_device{}()} << 32);
    for (int i = 0; i < NumLoops(config); ++i) {
      shards_.push_back(std::make_unique<Shard>(context_));
    }
    acceptor_.emplace(shards_[0]->io());
    retry_.emplace(shards_[0]->io());
  }

  ~ListenerImpl() override { Stop(); }

  Status Bind() {
    const ServerConfig& config = context_.config;
    const std::string where = fmt::format("cannot listen on {}:{}", config.host, config.port);
    const auto fail = [&](const error_code& ec) {
      const bool taken = ec == asio::error::address_in_use;
      return Fail(taken ? ErrorCode::kUnavailable : ErrorCode::kInvalidArgument,
                  fmt::format("{}: {}", where,
                              taken ? "the port is in use by another program" : ec.message()),
                  "port");
    };
    error_code ec;
    tcp::resolver resolver(shards_[0]->io());
    const auto found =
        resolver.resolve(config.host, std::to_string(config.port), tcp::resolver::passive, ec);
    if (ec || found.empty()) return fail(ec ? ec : asio::error::host_not_found);
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_->open(endpoint.protocol(), ec);
    if (!ec) acceptor_->set_option(asio::socket_base::reuse_address(true), ec);
    if (!ec) acceptor_->bind(endpoint, ec);
    if (!ec) acceptor_->listen(kBacklog, ec);
    if (ec) return fail(ec);
    port_ = acceptor_->local_endpoint(ec).port();
    return {};
  }

  void Run() {
    Accept();
    for (auto& shard : shards_) shard->Start();
  }

  Status ReloadCertificate() override {
    return context_.certificate ? context_.certificate->Reload() : Status();
  }

  std::string certificate_pem() const override {
    return context_.certificate ? context_.certificate->pem() : std::string();
  }

  uint16_t port() const override { return port_; }
  int num_loops() const override { return static_cast<int>(shards_.size()); }
  EventLoop& loop(int index) override { return *shards_[static_cast<size_t>(index)]; }
  bool idle() const override { return context_.open_exchanges.load() == 0; }

  void BeginDrain() override {
    context_.draining = true;
    for (auto& shard : shards_) shard->CloseIdle();
  }

  void Stop() override {
    if (stopped_.exchange(true)) return;
    shards_[0]->Post([this] {
      error_code ignored;
      acceptor_->close(ignored);
      retry_->cancel();
    });
    for (auto& shard : shards_) shard->Stop();
    for (auto& shard : shards_) shard->Join();
  }

 private:
  void Accept() {
    Shard& shard = *shards_[next_shard_++ % shards_.size()];
    acceptor_->async_accept(shard.io(), [this, &shard](error_code ec, TcpSocket socket) {
      if (!acceptor_->is_open()) return;
      if (ec) {
        // Out of descriptors, mostly: wait for some to come back rather than spin.
        if (failures_.Enter(NowUs())) {
          LogWarning("accept failed, new connections wait: {}", ec.message());
        }
        retry_->expires_after(std::chrono::milliseconds(100));
        retry_->async_wait([this](error_code waited) {
          if (!waited) Accept();
        });
        return;
      }
      Admit(shard, std::move(socket));
      Accept();
    });
  }

  void Admit(Shard& shard, TcpSocket socket) {
    ServerMetrics& metrics = context_.metrics;
    metrics.connections_total.Add();
    if (metrics.open_connections.load() >= context_.config.max_connections ||
        MustStayFree(socket.native_handle())) {
      metrics.connections_refused_total.Add();
      if (refusals_.Enter(NowUs())) LogWarning("no room for more connections: answering 503");
      return TurnAway(std::move(socket), context_.certificate != nullptr);
    }
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    // Bounds what the kernel holds for a client that reads nothing; token streams need little.
    socket.set_option(asio::socket_base::send_buffer_size(256 << 10), ignored);
    if (&shard == shards_[0].get()) return shard.Adopt(std::move(socket));
    auto shared = std::make_shared<TcpSocket>(std::move(socket));  // std::function copies
    shard.Post([&shard, shared] { shard.Adopt(std::move(*shared)); });
  }

  // One try to say why; the socket buffer of a new connection has room.
  static void TurnAway(TcpSocket socket, bool is_tls) {
    error_code ignored;
    if (is_tls) {  // a handshake is what there is no room for
      socket.close(ignored);
      return;
    }
    const HttpResponse response =
        ErrorResponse(503, "the server has no room for more connections", "too_many_connections");
    const std::string text = fmt::format(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        "connection: close\r\ncontent-length: {}\r\n\r\n{}",
        response.body.size(), response.body);
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
    socket.shutdown(tcp::socket::shutdown_both, ignored);
  }

  HttpContext context_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::optional<asio::basic_socket_acceptor<tcp, IoExecutor>> acceptor_;
  std::optional<IoTimer> retry_;
  BurstGate failures_, refusals_;
  size_t next_shard_ = 0;
  uint16_t port_ = 0;
  std::atomic<bool> stopped_{false};
};

}  // namespace

Result<std::unique_ptr<HttpListener>> HttpListener::Start(const ServerConfig& config, Router router,
                                                          ServerMetrics& metrics,
                                                          std::shared_ptr<ApiKeys> keys) {
  std::shared_ptr<TlsCertificate> certificate;
  if (!config.tls_cert.empty() || !config.tls_key.empty()) {
    SLIP_ASSIGN_OR_RETURN(certificate, TlsCertificate::Open(config.tls_cert, config.tls_key));
  }
  try {
    auto listener = std::make_unique<ListenerImpl>(config, std::move(router), metrics,
                                                   std::move(keys), std::move(certificate));
    SLIP_RETURN_IF_ERROR(listener->Bind());
    listener->Run();
    return listener;
  } catch (const std::exception& e) {
    return Internal(fmt::format("cannot start the HTTP listener: {}", e.what()));
  }
}

}  // namespace slipstream
