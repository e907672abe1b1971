// Counts the answer of every RPC by method and status code: the server's own, health and
// reflection. Where gRPC refuses a message that it cannot read, it says why instead of nothing.
// Owned by gRPC's builder; its threads. A call to an unknown method never gets here.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "server/server_metrics.h"

namespace slipstream {

// `metrics` must outlive the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeResponseCount(
    ServerMetrics& metrics);

}  // namespace slipstream
