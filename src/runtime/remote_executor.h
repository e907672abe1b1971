// An Executor whose model runs in a `slipstream worker` process, reached over TCP: the leader
// schedules and sends each step's arrays, the worker never schedules. A lost worker is process
// scope (fatal): every request on it ends with an error, none in silence.
#pragma once

#include <memory>
#include <string>

#include "comm/tcp_channel.h"
#include "runtime/executor.h"

namespace slipstream {

// Waits up to `timeout_seconds` for the worker to come up.
Result<std::unique_ptr<Executor>> ConnectRemoteExecutor(const std::string& address,
                                                        int timeout_seconds);

// Serves one leader after another over `executor` until the listener is shut down. Steps of a
// leader that went away are dropped; the next leader starts clean.
Status ServeWorker(TcpListener& listener, Executor& executor);

}  // namespace slipstream
