// Connections over loopback for targets that need a real one. Source addresses go round
// 127.0.0.0/8, since a hundred connections a second would use up the ports of one.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz.h"

namespace slipstream::fuzz {

inline sockaddr_in Loopback(uint32_t host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(host);
  return address;
}

// A socket connected to 127.0.0.1:port.
inline int ConnectTo(uint16_t port) {
  static uint32_t turn = 0;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in from = Loopback(INADDR_LOOPBACK + 1 + turn++ % 200'000, 0);
  const sockaddr_in to = Loopback(INADDR_LOOPBACK, port);
  const timeval limit{20, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  const bool bound = bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) == 0;
  // Interrupted by libFuzzer's alarm, it goes on by itself, and a second call waits for its end.
  int connected = -1;
  while (bound) {
    connected = connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    if (connected == 0 || (errno != EINTR && errno != EALREADY)) break;
  }
  Require(connected == 0 || (bound && errno == EISCONN),
          std::string(bound ? "connecting: " : "binding: ") + std::strerror(errno));
  return fd;
}

// False when the peer has closed.
inline bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// Everything up to the end of the connection. `reset`: the server left input unread, and what it
// had written may be lost.
inline std::string ReadAll(int fd, bool* reset) {
  std::string all;
  *reset = false;
  char chunk[16384];
  while (true) {
    const ssize_t n = recv(fd, chunk, sizeof chunk, 0);
    if (n < 0 && errno == EINTR) continue;  // libFuzzer's alarm
    *reset = n < 0;
    Require(n >= 0 || errno == ECONNRESET || errno == EPIPE,
            "the server closes what it will not answer");
    if (n <= 0) return all;
    all.append(chunk, static_cast<size_t>(n));
  }
}

}  // namespace slipstream::fuzz
