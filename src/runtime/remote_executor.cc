#include "runtime/remote_executor.h"

#include "base/log.h"
#include "runtime/step_codec.h"

namespace slipstream {
namespace {

class RemoteExecutor : public Executor {
 public:
  explicit RemoteExecutor(TcpChannel channel) : channel_(std::move(channel)) {}

  Status Greet(int connect_seconds, double step_seconds) {
    channel_.SetTimeout(connect_seconds);
    SLIP_RETURN_IF_ERROR(channel_.Receive(&buffer_));
    channel_.SetTimeout(step_seconds);
    return DecodeExecutorInfo(buffer_, &info_, &max_in_flight_);
  }

  const ExecutorInfo& info() const override { return info_; }
  int max_in_flight() const override { return max_in_flight_; }
  bool fatal() const override { return fatal_; }

  Status Submit(ForwardInput input) override { return FatalIfError(channel_.Send(Encode(input))); }

  Result<StepOutput> Collect() override {
    SLIP_RETURN_IF_ERROR(FatalIfError(channel_.Receive(&buffer_)));
    return DecodeStepOutput(buffer_);
  }

  Status CheckIdle() override { return FatalIfError(channel_.CheckQuiet()); }

 private:
  Status FatalIfError(Status status) {
    if (!status) {
      fatal_ = true;
      return tl::unexpected(std::move(status).error().With("the worker is lost"));
    }
    return status;
  }

  TcpChannel channel_;
  ExecutorInfo info_;
  int max_in_flight_ = 1;
  bool fatal_ = false;
  std::vector<uint8_t> buffer_;
};

// Runs steps for one leader until it goes away.
Status ServeLeader(TcpChannel& channel, Executor& executor) {
  SLIP_RETURN_IF_ERROR(channel.Send(Encode(executor.info(), 1)));
  std::vector<uint8_t> message;
  for (;;) {
    SLIP_RETURN_IF_ERROR(channel.Receive(&message));
    SLIP_ASSIGN_OR_RETURN(ForwardInput input, DecodeForwardInput(message));
    Result<StepOutput> output = [&]() -> Result<StepOutput> {
      SLIP_RETURN_IF_ERROR(CheckForwardInput(input, executor.info()));
      SLIP_RETURN_IF_ERROR(executor.Submit(std::move(input)));
      return executor.Collect();
    }();
    SLIP_RETURN_IF_ERROR(channel.Send(Encode(output)));
    if (executor.fatal()) return Internal("the executor lost its device");
  }
}

}  // namespace

Result<std::unique_ptr<Executor>> ConnectRemoteExecutor(const std::string& address,
                                                        int connect_seconds, double step_seconds) {
  SLIP_ASSIGN_OR_RETURN(TcpChannel channel, TcpChannel::Connect(address, connect_seconds));
  auto executor = std::make_unique<RemoteExecutor>(std::move(channel));
  if (Status greeted = executor->Greet(connect_seconds, step_seconds); !greeted) {
    return tl::unexpected(std::move(greeted).error().With(
        "the worker at " + address + " sends no greeting; it may serve another leader"));
  }
  return executor;
}

Status WorkerServer::Serve() {
  for (;;) {
    auto channel = listener_.Accept();
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return {};
      if (!channel) return tl::unexpected(std::move(channel).error());
      leader_ = &*channel;
    }
    LogInfo("a leader connected");
    const Status ended = ServeLeader(*channel, executor_);
    std::lock_guard lock(mutex_);
    leader_ = nullptr;
    if (stopping_) return {};
    LogInfo("the leader is gone: {}", ended.error().message);
    if (executor_.fatal()) return ended;
  }
}

void WorkerServer::Stop() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  listener_.Shutdown();
  if (leader_ != nullptr) leader_->Shutdown();
}

}  // namespace slipstream
