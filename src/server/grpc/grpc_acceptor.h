// Listens for gRPC and hands it its connections. gRPC's own listener stops for good when
// descriptors run out once; this one waits, and keeps --max-connections. Owned by GrpcServer; one
// thread, which sleeps in poll. Bind fails when the address cannot be listened on.
#pragma once

#include <grpcpp/server_builder.h>

#include <sys/types.h>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/open_files.h"
#include "base/result.h"
#include "server/server_metrics.h"

namespace slipstream {

class GrpcAcceptor {
 public:
  // `metrics` must outlive it.
  GrpcAcceptor(int max_connections, ServerMetrics& metrics)
      : max_connections_(static_cast<size_t>(max_connections)), metrics_(metrics) {}
  ~GrpcAcceptor() { Stop(); }
  GrpcAcceptor(const GrpcAcceptor&) = delete;
  GrpcAcceptor& operator=(const GrpcAcceptor&) = delete;

  // Port 0: any free one.
  Status Bind(const std::string& host, int port);
  uint16_t port() const { return port_; }
  // `sink` is the started server's.
  void Run(std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> sink);
  // No connection is handed over after it.
  void Stop();

 private:
  struct Accepted {
    int fd;
    ino_t inode;  // tells the socket from a later one of the same number
  };

  void Loop();
  // False: none waits, or none can be taken now.
  bool AcceptOne();
  bool HasRoom(int fd);
  void HandOver(int fd);

  const size_t max_connections_;
  ServerMetrics& metrics_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> sink_;
  int listen_fd_ = -1, stop_fd_ = -1;
  uint16_t port_ = 0;
  bool starved_ = false;
  BurstGate refusals_, failures_;
  std::vector<Accepted> accepted_;  // gRPC closes them and does not say when
  std::thread thread_;
};

}  // namespace slipstream
