#include "server/grpc/grpc_server.h"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "server/grpc/generate_call.h"
#include "slipstream/v1/inference.grpc.pb.h"

namespace slipstream {
namespace {

std::string_view MetadataOf(const grpc::CallbackServerContext& context, const char* name) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(name);
  return found == metadata.end() ? std::string_view()
                                 : std::string_view(found->second.data(), found->second.size());
}

// The key that the call brings; null with success: none is needed.
Result<std::shared_ptr<KeyAccount>> CheckKey(const Service& service,
                                             const grpc::CallbackServerContext& context) {
  if (!service.keys()->required()) return nullptr;
  auto account = service.keys()->Find(MetadataOf(context, "authorization"));
  if (!account) return Fail(ErrorCode::kUnauthenticated, "an API key is needed");
  return account;
}

// Who calls; takes the key's place.
Result<std::shared_ptr<RequestRecord>> Admit(Service& service,
                                             const grpc::CallbackServerContext& context) {
  auto record = std::make_shared<RequestRecord>();
  record->method = "Generate";
  record->path = v1::Inference::service_full_name();
  record->start_us = NowUs();
  record->trace_id = TraceIdOf(MetadataOf(context, "traceparent"));
  SLIP_ASSIGN_OR_RETURN(record->key, CheckKey(service, context));
  if (!record->key) return record;
  if (const auto over = record->key->Enter(record->start_us)) {
    service.metrics().rejected_key_limit_total.Add();
    return Fail(ErrorCode::kResourceExhausted, over->message);
  }
  record->permit = std::make_shared<KeyPermit>(record->key);
  return record;
}

// `Service` alone would be the generated base's member class here.
class InferenceService final : public v1::Inference::CallbackService {
 public:
  InferenceService(slipstream::Service& service, std::vector<EventLoop*> loops)
      : service_(service), loops_(std::move(loops)) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* message) override {
    EventLoop& loop = *loops_[next_loop_.fetch_add(1) % loops_.size()];
    auto call = std::make_shared<GenerateCall>(service_, loop);
    auto record = Admit(service_, *context);
    if (!record) {
      call->Refuse(record.error());
    } else if (auto request = ParseGenerateRequest(service_, *message); !request) {
      call->Refuse(request.error());
    } else {
      (*record)->request_id = request->id;
      request->record = std::move(*record);
      call->Start(std::move(*request));
    }
    return call.get();  // it holds itself until OnDone
  }

  grpc::ServerUnaryReactor* Health(grpc::CallbackServerContext* context, const v1::HealthRequest*,
                                   v1::HealthResponse* response) override {
    const Status health = service_.Health(), ready = service_.Ready();
    response->set_healthy(health.has_value());
    response->set_ready(ready.has_value());
    if (!health) {
      response->set_reason(health.error().message);
    } else if (!ready) {
      response->set_reason(ready.error().message);
    }
    return Reply(context, grpc::Status::OK);
  }

  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest*,
                                         v1::GetModelInfoResponse* response) override {
    if (const auto key = CheckKey(service_, *context); !key) {
      return Reply(context, ToGrpcStatus(key.error()));
    }
    const ModelInfo& model = service_.model();
    response->set_name(model.name);
    for (const std::string& alias : model.aliases) response->add_aliases(alias);
    response->set_max_model_len(model.max_model_len);
    const ExecutorInfo& info = service_.engine().info();
    response->set_vocab_size(static_cast<int32_t>(info.vocab_size));
    for (const int32_t id : info.eos_token_ids) response->add_eos_token_ids(id);
    response->set_version(SLIPSTREAM_VERSION);
    return Reply(context, grpc::Status::OK);
  }

 private:
  static grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context,
                                         const grpc::Status& status) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(status);
    return reactor;
  }

  slipstream::Service& service_;
  const std::vector<EventLoop*> loops_;
  std::atomic<size_t> next_loop_{0};
};

class GrpcServerImpl final : public GrpcServer {
 public:
  GrpcServerImpl(Service& service, std::vector<EventLoop*> loops)
      : service_(service), inference_(service, std::move(loops)) {}
  ~GrpcServerImpl() override { Stop(); }

  Status Listen(const ServerConfig& config) {
    static std::once_flag once;
    std::call_once(once, [] { grpc::EnableDefaultHealthCheckService(true); });
    const int wanted = std::max(config.grpc_port, 0);
    const bool is_v6 = config.host.find(':') != std::string::npos;
    const std::string address = is_v6 ? fmt::format("[{}]:{}", config.host, wanted)
                                      : fmt::format("{}:{}", config.host, wanted);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address, Credentials(config), &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(
        static_cast<int>(std::min<size_t>(config.max_body_bytes, std::numeric_limits<int>::max())));
    builder.RegisterService(&inference_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return Fail(ErrorCode::kUnavailable,
                  fmt::format("gRPC cannot listen on {}: the port is in use by another program or "
                              "the address is not this machine's",
                              address),
                  "grpc_port");
    }
    port_ = static_cast<uint16_t>(port);
    // Probes ask for the server as a whole or for the service by its name.
    if (auto* health = server_->GetHealthCheckService()) {
      health->SetServingStatus(v1::Inference::service_full_name(), true);
      health_teller_ = std::thread([this, health] { TellHealth(*health); });
    }
    return {};
  }

  uint16_t port() const override { return port_; }

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
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

 private:
  // gRPC itself looks for new files; SIGHUP is the listener's.
  static std::shared_ptr<grpc::ServerCredentials> Credentials(const ServerConfig& config) {
    if (config.tls_cert.empty()) return grpc::InsecureServerCredentials();
    constexpr unsigned int kLookSeconds = 10;
    grpc::experimental::TlsServerCredentialsOptions options(
        std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
            config.tls_key, config.tls_cert, kLookSeconds));
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
  InferenceService inference_;
  std::unique_ptr<grpc::Server> server_;
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false, look_now_ = false;
  std::thread health_teller_;
};

}  // namespace

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(Service& service,
                                                      std::vector<EventLoop*> loops) {
  try {
    auto server = std::make_unique<GrpcServerImpl>(service, std::move(loops));
    SLIP_RETURN_IF_ERROR(server->Listen(service.config()));
    return server;
  } catch (const std::exception& e) {
    return Internal(fmt::format("cannot start gRPC: {}", e.what()));
  }
}

}  // namespace slipstream
