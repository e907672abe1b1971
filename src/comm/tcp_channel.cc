#include "comm/tcp_channel.h"

#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

namespace slipstream {
namespace {

constexpr uint32_t kMagic = 0x50494c53;  // "SLIP"

struct AddressList {
  addrinfo* head = nullptr;
  ~AddressList() {
    if (head != nullptr) freeaddrinfo(head);
  }
};

Status Resolve(const std::string& address, bool passive, AddressList* list) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return InvalidArgument(fmt::format("address \"{}\": want host:port", address));
  }
  // getaddrinfo takes any number and keeps its low 16 bits.
  const std::string port = address.substr(colon + 1);
  const bool digits = !port.empty() && port.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || port.size() > 5 || std::stoi(port) > 65535) {
    return InvalidArgument(fmt::format("address {}: the port is a number up to 65535", address));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  const int rc = getaddrinfo(address.substr(0, colon).c_str(), port.c_str(), &hints, &list->head);
  if (rc != 0) return InvalidArgument(fmt::format("address {}: {}", address, gai_strerror(rc)));
  return {};
}

void SetSocketOptions(int fd) {
  const auto set = [fd](int level, int name, int value) {
    setsockopt(fd, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

Error Lost(const char* what) {
  return {ErrorCode::kUnavailable,
          fmt::format("the connection to the other rank broke ({}: {})", what,
                      errno != 0 ? strerror(errno) : "closed"),
          {}};
}

// What a failed send or recv means; EAGAIN is the timeout of a blocking socket.
Error Failure(const char* what, double timeout_seconds) {
  if (errno != EAGAIN && errno != EWOULDBLOCK) return Lost(what);
  return {ErrorCode::kUnavailable,
          fmt::format("the other rank is silent ({}: nothing for {} s)", what, timeout_seconds),
          {}};
}

Status SendAll(int fd, const void* data, size_t bytes, double timeout_seconds) {
  const auto* p = static_cast<const uint8_t*>(data);
  while (bytes > 0) {
    const ssize_t n = ::send(fd, p, bytes, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return tl::unexpected(Failure("send", timeout_seconds));
    p += n;
    bytes -= n;
  }
  return {};
}

Status ReceiveAll(int fd, void* data, size_t bytes, double timeout_seconds) {
  auto* p = static_cast<uint8_t*>(data);
  while (bytes > 0) {
    errno = 0;
    const ssize_t n = ::recv(fd, p, bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return tl::unexpected(Failure("receive", timeout_seconds));
    p += n;
    bytes -= n;
  }
  return {};
}

}  // namespace

TcpChannel::TcpChannel(int fd) : fd_(fd) { SetSocketOptions(fd); }
TcpChannel::TcpChannel(TcpChannel&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), timeout_seconds_(other.timeout_seconds_) {}
TcpChannel& TcpChannel::operator=(TcpChannel&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(timeout_seconds_, other.timeout_seconds_);
  return *this;
}
TcpChannel::~TcpChannel() {
  if (fd_ >= 0) ::close(fd_);
}

Result<TcpChannel> TcpChannel::Connect(const std::string& address, int timeout_seconds) {
  AddressList list;
  SLIP_RETURN_IF_ERROR(Resolve(address, false, &list));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_seconds);
  int saved = 0;
  do {
    for (const addrinfo* a = list.head; a != nullptr; a = a->ai_next) {
      const int fd = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
      if (fd < 0) continue;
      if (::connect(fd, a->ai_addr, a->ai_addrlen) == 0) return TcpChannel(fd);
      saved = errno;
      ::close(fd);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  } while (std::chrono::steady_clock::now() < deadline);
  return Fail(ErrorCode::kUnavailable,
              fmt::format("cannot reach the worker at {}: {}", address, strerror(saved)));
}

void TcpChannel::SetTimeout(double seconds) {
  timeout_seconds_ = seconds;
  timeval limit{};
  limit.tv_sec = static_cast<time_t>(seconds);
  limit.tv_usec = static_cast<suseconds_t>((seconds - static_cast<double>(limit.tv_sec)) * 1e6);
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

Status TcpChannel::Send(std::span<const uint8_t> message) {
  if (message.size() > kMaxFrameBytes) return Internal("a step is too large to send");
  const uint32_t header[2] = {kMagic, static_cast<uint32_t>(message.size())};
  SLIP_RETURN_IF_ERROR(SendAll(fd_, header, sizeof header, timeout_seconds_));
  return SendAll(fd_, message.data(), message.size(), timeout_seconds_);
}

Status TcpChannel::Receive(std::vector<uint8_t>* message) {
  uint32_t header[2];
  SLIP_RETURN_IF_ERROR(ReceiveAll(fd_, header, sizeof header, timeout_seconds_));
  if (header[0] != kMagic || header[1] > kMaxFrameBytes) {
    return DataLoss("the other side does not speak this protocol");
  }
  message->resize(header[1]);
  return ReceiveAll(fd_, message->data(), message->size(), timeout_seconds_);
}

Status TcpChannel::CheckQuiet() const {
  for (;;) {
    char byte;
    errno = 0;
    const ssize_t n = ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) return DataLoss("the other rank sent what nobody asked for");
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
    return tl::unexpected(Lost("receive"));
  }
}

void TcpChannel::Shutdown() { ::shutdown(fd_, SHUT_RDWR); }

Result<TcpListener> TcpListener::Listen(const std::string& address) {
  AddressList list;
  SLIP_RETURN_IF_ERROR(Resolve(address, true, &list));
  const int fd = ::socket(list.head->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Internal(fmt::format("socket: {}", strerror(errno)));
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(fd, list.head->ai_addr, list.head->ai_addrlen) != 0 || ::listen(fd, 16) != 0) {
    const int saved = errno;
    ::close(fd);
    return Fail(ErrorCode::kUnavailable,
                fmt::format("cannot listen on {}: {}", address, strerror(saved)));
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  const int port = bound.ss_family == AF_INET6
                       ? ntohs(reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port)
                       : ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  return TcpListener(fd, port);
}

TcpListener::TcpListener(TcpListener&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), port_(other.port_) {}
TcpListener::~TcpListener() {
  if (fd_ >= 0) ::close(fd_);
}

Result<TcpChannel> TcpListener::Accept() {
  for (;;) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) return TcpChannel(fd);
    if (errno != EINTR && errno != ECONNABORTED) {
      return Fail(ErrorCode::kCancelled, fmt::format("no longer listening: {}", strerror(errno)));
    }
  }
}

void TcpListener::Shutdown() { ::shutdown(fd_, SHUT_RDWR); }

}  // namespace slipstream
