// An Executor whose model runs in a `slipstream worker` process, reached over TCP: the leader
// schedules and sends each step's arrays, the worker never schedules. A worker that is lost or
// silent is process scope (fatal): every request on it ends with an error, none in silence.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "comm/tcp_channel.h"
#include "runtime/executor.h"

namespace slipstream {

// Waits up to `connect_seconds` for the worker to come up, and as long for its greeting. A step
// that sends or answers nothing for `step_seconds` has lost the worker; must be longer than any
// step.
Result<std::unique_ptr<Executor>> ConnectRemoteExecutor(const std::string& address,
                                                        int connect_seconds, double step_seconds);

// The other end: serves one leader after another over `executor`. Steps of a leader that went away
// are dropped; the next leader starts clean.
class WorkerServer {
 public:
  WorkerServer(TcpListener listener, Executor& executor)
      : listener_(std::move(listener)), executor_(executor) {}
  int port() const { return listener_.port(); }

  // Returns after Stop, or with an error when the executor has lost its device.
  Status Serve();
  // Any thread: ends Serve, also while a leader is connected.
  void Stop();

 private:
  TcpListener listener_;
  Executor& executor_;
  std::mutex mutex_;  // guards what follows
  TcpChannel* leader_ = nullptr;
  bool stopping_ = false;
};

}  // namespace slipstream
