#include "server/grpc/grpc_server.h"

#include <fmt/core.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "server/grpc/grpc_acceptor.h"
#include "server/grpc/inference_service.h"
#include "server/grpc/library_log.h"
#include "server/grpc/response_count.h"
#include "server/grpc/served_pem.h"

namespace slipstream {
namespace {

class GrpcServerImpl final : public GrpcServer {
 public:
  GrpcServerImpl(Service& service, std::vector<EventLoop*> loops)
      : service_(service),
        acceptor_(service.config().max_connections, service.metrics()),
        inference_(MakeInferenceService(service, std::move(loops))) {}
  ~GrpcServerImpl() override { Stop(); }

  Status Listen(const ServerConfig& config, const std::string& pem) {
    static std::once_flag once;
    std::call_once(once, [] {
      TakeOverLibraryLogs();
      grpc::EnableDefaultHealthCheckService(true);
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    });
    if (!pem.empty()) SLIP_RETURN_IF_ERROR(pem_.Set(pem));
    SLIP_RETURN_IF_ERROR(acceptor_.Bind(config.host, std::max(config.grpc_port, 0)));
    grpc::ServerBuilder builder;
    auto sink = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
        Credentials(!pem.empty()));
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                               static_cast<int>(config.header_timeout_seconds * 1000));
    builder.SetMaxReceiveMessageSize(
        static_cast<int>(std::min<size_t>(config.max_body_bytes, std::numeric_limits<int>::max())));
    builder.RegisterService(inference_.get());
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
    creators.push_back(MakeResponseCount(service_.metrics()));
    builder.experimental().SetInterceptorCreators(std::move(creators));
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return Internal("gRPC does not start: the log says why");
    acceptor_.Run(std::move(sink));
    // Probes ask for the server as a whole or for the service by its name.
    if (auto* health = server_->GetHealthCheckService()) {
      health->SetServingStatus(v1::Inference::service_full_name(), true);
      health_teller_ = std::thread([this, health] { TellHealth(*health); });
    }
    return {};
  }

  uint16_t port() const override { return acceptor_.port(); }

  Status UseCertificate(const std::string& pem) override { return pem_.Set(pem); }

  void BeginDrain() override {
    std::unique_lock lock(mutex_);
    look_now_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !look_now_ || !health_teller_.joinable(); });
  }

  void Stop() override {
    if (server_ == nullptr) return;
    if (health_teller_.joinable()) {
      {
        std::lock_guard lock(mutex_);
        stopping_ = true;
      }
      changed_.notify_all();
      health_teller_.join();
    }
    acceptor_.Stop();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

 private:
  std::shared_ptr<grpc::ServerCredentials> Credentials(bool tls) {
    if (!tls) return grpc::InsecureServerCredentials();
    constexpr unsigned int kLookSeconds = 1;
    grpc::experimental::TlsServerCredentialsOptions options(
        std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
            pem_.path(), pem_.path(), kLookSeconds));
    options.watch_identity_key_cert_pairs();
    return grpc::experimental::TlsServerCredentials(options);
  }

  // The standard health service keeps what it was told, so somebody has to look.
  static constexpr std::chrono::milliseconds kHealthPoll{200};

  void TellHealth(grpc::HealthCheckServiceInterface& health) {
    bool told = true;
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      const bool serving = service_.Ready().has_value();
      if (serving != told) health.SetServingStatus(serving);
      told = serving;
      look_now_ = false;
      changed_.notify_all();
      changed_.wait_for(lock, kHealthPoll, [this] { return stopping_ || look_now_; });
    }
  }

  Service& service_;
  GrpcAcceptor acceptor_;
  ServedPem pem_;
  std::unique_ptr<grpc::Service> inference_;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false, look_now_ = false;
  std::thread health_teller_;
};

}  // namespace

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(Service& service,
                                                      std::vector<EventLoop*> loops,
                                                      const std::string& pem) {
  try {
    auto server = std::make_unique<GrpcServerImpl>(service, std::move(loops));
    SLIP_RETURN_IF_ERROR(server->Listen(service.config(), pem));
    return server;
  } catch (const std::exception& e) {
    return Internal(fmt::format("cannot start gRPC: {}", e.what()));
  }
}

}  // namespace slipstream
