#include "server/server.h"

#include <fmt/core.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/open_files.h"
#include "server/all_routes.h"
#include "server/grpc/grpc_server.h"
#include "server/http/listener.h"
#include "server/parsing/output_forms.h"
#include "server/service.h"

namespace slipstream {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kFilesOfServer = 256;  // open before, and by later requests

// Both fronts may fill up at once.
Status MakeRoomForConnections(const ServerConfig& config) {
  const int64_t wanted = int64_t{config.max_connections} * (config.grpc_port == 0 ? 1 : 2);
  const int64_t limit = RaiseOpenFileLimit(wanted + kFilesOfServer + kFilesKeptFree);
  const int64_t room = RoomForConnections(limit);
  if (room < 1) {
    return Fail(
        ErrorCode::kResourceExhausted,
        fmt::format("only {} files may be open (ulimit -n), which leaves none for connections",
                    limit));
  }
  if (room < config.max_connections) {
    LogWarning(
        "only {} files may be open (ulimit -n): about {} connections fit, max_connections is {}",
        limit, room, config.max_connections);
  }
  return {};
}

constexpr milliseconds kPoll{5};
constexpr double kFlushSeconds = 2;  // for last events and answers to leave after a drain

class ServerImpl final : public Server {
 public:
  ServerImpl(const ServerConfig& config, ModelInfo model,
             std::shared_ptr<const Tokenizer> tokenizer,
             std::shared_ptr<const ChatTemplate> chat_template, std::shared_ptr<ApiKeys> keys,
             Engine& engine)
      : service_(std::make_shared<Service>(config, std::move(model), std::move(tokenizer),
                                           std::move(chat_template), std::move(keys), engine)) {}
  ~ServerImpl() override { Stop(); }

  Status Start() {
    Router router;
    AddAllRoutes(*service_, &router);
    SLIP_ASSIGN_OR_RETURN(listener_, HttpListener::Start(service_->config(), std::move(router),
                                                         service_->metrics(), service_->keys()));
    if (service_->config().grpc_port == 0) return {};
    std::vector<EventLoop*> loops;
    for (int i = 0; i < listener_->num_loops(); ++i) loops.push_back(&listener_->loop(i));
    SLIP_ASSIGN_OR_RETURN(
        grpc_, GrpcServer::Start(*service_, std::move(loops), listener_->certificate_pem()));
    return {};
  }

  uint16_t http_port() const override { return listener_->port(); }
  uint16_t grpc_port() const override { return grpc_ ? grpc_->port() : 0; }

  Status Reload() override {
    const Status keys = service_->keys()->Reload();
    SLIP_RETURN_IF_ERROR(listener_->ReloadCertificate());
    if (const std::string pem = listener_->certificate_pem(); grpc_ && !pem.empty()) {
      SLIP_RETURN_IF_ERROR(grpc_->UseCertificate(pem));
    }
    return keys;
  }

  void BeginDrain(double grace_seconds) override {
    {
      std::lock_guard lock(mutex_);
      if (drain_deadline_us_ != 0) return;
      drain_deadline_us_ = NowUs() + static_cast<int64_t>(grace_seconds * 1e6);
    }
    service_->BeginDrain();
    listener_->BeginDrain();
    if (grpc_) grpc_->BeginDrain();
    changed_.notify_all();
  }

  void Wait() override {
    int64_t deadline_us;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return drain_deadline_us_ != 0 || stopped_; });
      if (stopped_) return;
      deadline_us = drain_deadline_us_;
    }
    WaitUntil(deadline_us, [&] { return service_->open_requests() == 0; });
    service_->AbortAll({ErrorCode::kUnavailable, "the server is shutting down", {}});
    const int64_t flushed_us = NowUs() + static_cast<int64_t>(kFlushSeconds * 1e6);
    WaitUntil(flushed_us, [&] { return service_->open_requests() == 0 && listener_->idle(); });
  }

  void Stop() override {
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      stopped_ = true;
    }
    changed_.notify_all();
    service_->BeginDrain();
    if (listener_) {
      service_->AbortAll({ErrorCode::kUnavailable, "the server is shutting down", {}});
      if (grpc_) grpc_->Stop();
      // Encoding in progress ends first: it posts to the loops.
      service_->Shutdown();
      listener_->Stop();
    }
  }

 private:
  template <typename Done>
  void WaitUntil(int64_t deadline_us, Done done) {
    std::unique_lock lock(mutex_);
    while (!done() && NowUs() < deadline_us && !stopped_) changed_.wait_for(lock, kPoll);
  }

  std::shared_ptr<Service> service_;
  std::unique_ptr<HttpListener> listener_;
  std::unique_ptr<GrpcServer> grpc_;  // runs on the listener's loops
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t drain_deadline_us_ = 0;
  bool stopped_ = false;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::Start(ServerConfig config, ModelInfo model,
                                              std::shared_ptr<const Tokenizer> tokenizer,
                                              std::shared_ptr<const ChatTemplate> chat_template,
                                              Engine& engine) {
  if (auto forms = ChooseOutputForms(config.tool_parser, config.reasoning_parser, ""); !forms) {
    return tl::unexpected(std::move(forms).error());
  }
  SLIP_RETURN_IF_ERROR(MakeRoomForConnections(config));
  SLIP_ASSIGN_OR_RETURN(auto keys, ApiKeys::Open(config.api_keys, config.api_keys_file));
  auto server = std::make_unique<ServerImpl>(config, std::move(model), std::move(tokenizer),
                                             std::move(chat_template), std::move(keys), engine);
  SLIP_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace slipstream
