#include "server/grpc/grpc_acceptor.h"

#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace slipstream {
namespace {

constexpr int kBacklog = 4096;
constexpr int kStarvedWaitMs = 100;

ino_t InodeOf(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 ? info.st_ino : 0;
}

Status CannotListen(const std::string& host, int port, const char* why) {
  return Fail(ErrorCode::kUnavailable,
              fmt::format("gRPC cannot listen on {}:{}: {}", host, port, why), "grpc_port");
}

// Of a bound socket.
uint16_t PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

Status GrpcAcceptor::Bind(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int unknown = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (unknown != 0) return CannotListen(host, port, gai_strerror(unknown));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);

  listen_fd_ = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  const int yes = 1;
  const bool listening = listen_fd_ >= 0 && stop_fd_ >= 0 &&
                         setsockopt(listen_fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                         bind(listen_fd_, found->ai_addr, found->ai_addrlen) == 0 &&
                         listen(listen_fd_, kBacklog) == 0;
  if (!listening) {
    return CannotListen(
        host, port,
        errno == EADDRINUSE ? "the port is in use by another program" : std::strerror(errno));
  }
  port_ = PortOf(listen_fd_);
  return {};
}

void GrpcAcceptor::Run(std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> sink) {
  sink_ = std::move(sink);
  thread_ = std::thread([this] { Loop(); });
}

void GrpcAcceptor::Stop() {
  if (thread_.joinable()) {
    eventfd_write(stop_fd_, 1);
    thread_.join();
  }
  for (int* fd : {&listen_fd_, &stop_fd_}) {
    if (*fd >= 0) close(std::exchange(*fd, -1));
  }
}

void GrpcAcceptor::Loop() {
  while (true) {
    pollfd waiting[] = {{stop_fd_, POLLIN, 0}, {listen_fd_, POLLIN, 0}};
    // Starved: the connection that waits would wake us at once, again and again.
    poll(waiting, starved_ ? 1 : 2, starved_ ? kStarvedWaitMs : -1);
    if (waiting[0].revents != 0) return;
    starved_ = false;
    try {
      while (AcceptOne()) {
      }
    } catch (const std::exception& e) {  // allocation: that connection is lost, the thread goes on
      LogError("gRPC accept: {}", e.what());
    }
  }
}

bool GrpcAcceptor::AcceptOne() {
  const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    if (HasRoom(fd)) {
      HandOver(fd);
    } else {
      metrics_.connections_refused_total.Add();
      if (refusals_.Enter(NowUs())) LogWarning("gRPC: no room for more connections");
      close(fd);
    }
    return true;
  }
  if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) return true;
  if (errno == EAGAIN) return false;
  starved_ = true;
  if (failures_.Enter(NowUs())) {
    LogWarning("gRPC: accept failed, new connections wait: {}", std::strerror(errno));
  }
  return false;
}

bool GrpcAcceptor::HasRoom(int fd) {
  if (MustStayFree(fd)) return false;
  if (accepted_.size() < max_connections_) return true;
  std::erase_if(accepted_, [](const Accepted& a) { return InodeOf(a.fd) != a.inode; });
  return accepted_.size() < max_connections_;
}

void GrpcAcceptor::HandOver(int fd) {
  accepted_.push_back({fd, InodeOf(fd)});
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.listener_fd = listen_fd_;
  connection.fd = fd;
  sink_->HandleNewConnection(&connection);
}

}  // namespace slipstream
