// gRPC beside HTTP, on the same Service: proto/slipstream/v1/inference.proto and the standard
// grpc.health.v1. gRPC stays behind this header. Owned by Server; its generations live on the
// listener's loops, which must run until Stop has returned. Start fails when the port cannot be
// bound.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/service.h"

namespace slipstream {

class GrpcServer {
 public:
  virtual ~GrpcServer() = default;

  // `pem`: key and certificate chain that fit together, empty without TLS.
  static Result<std::unique_ptr<GrpcServer>> Start(Service& service, std::vector<EventLoop*> loops,
                                                   const std::string& pem);

  // Others for connections to come, a second later at most.
  virtual Status UseCertificate(const std::string& pem) = 0;

  virtual uint16_t port() const = 0;
  // The standard health service says what Service::Ready says, a fifth of a second late at most;
  // from the return of this on it knows of the drain.
  virtual void BeginDrain() = 0;
  // Ends open calls and joins gRPC's threads.
  virtual void Stop() = 0;
};

}  // namespace slipstream
