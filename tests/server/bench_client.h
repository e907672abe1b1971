// Many connections on one thread with epoll: a client that costs little beside the server it
// measures. Sends what it is told, notes when tokens arrive and when an answer is complete.
#pragma once

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace slipstream::testing {

class BenchClient {
 public:
  struct Connection {
    int fd = -1;
    int index = 0;
    int answers = 0;  // complete ones
    int tokens = 0;   // events with text, of the answer in hand
    bool failed = false;

    std::string in;  // unread part of an answer
    bool in_body = false;
    bool chunked = false;
    size_t left = 0;  // of a body with a length
  };

  BenchClient(std::string host, uint16_t port) : host_(std::move(host)), port_(port) {
    epoll_ = epoll_create1(0);
  }
  ~BenchClient() {
    for (const auto& c : connections_) close(c->fd);
    close(epoll_);
  }
  BenchClient(const BenchClient&) = delete;
  BenchClient& operator=(const BenchClient&) = delete;

  // `number` connections; false when one cannot be made.
  bool Open(int number) {
    for (int i = 0; i < number; ++i) {
      auto c = std::make_unique<Connection>();
      c->index = static_cast<int>(connections_.size());
      c->fd = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(port_);
      inet_pton(AF_INET, host_.c_str(), &address.sin_addr);
      if (connect(c->fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return false;
      const int on = 1;
      setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      epoll_event event{.events = EPOLLIN, .data = {.ptr = c.get()}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, c->fd, &event);
      connections_.push_back(std::move(c));
    }
    return true;
  }
  std::vector<std::unique_ptr<Connection>>& connections() { return connections_; }

  void Send(Connection& c, std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = send(c.fd, data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) c.failed = true;
      if (n <= 0) return;
      data.remove_prefix(static_cast<size_t>(n));
    }
  }

  // Handles what arrives until `done`; false after thirty seconds of silence.
  template <typename Done>
  bool RunUntil(Done done) {
    epoll_event events[256];
    while (!done()) {
      const int n = epoll_wait(epoll_, events, 256, 30'000);
      if (n <= 0) return false;
      for (int i = 0; i < n; ++i) Read(*static_cast<Connection*>(events[i].data.ptr));
    }
    return true;
  }

  std::function<void(Connection&, int64_t now_us, int new_tokens)> on_tokens;
  std::function<void(Connection&, int status)> on_answer;

 private:
  void Read(Connection& c) {
    char chunk[65536];
    const ssize_t n = recv(c.fd, chunk, sizeof chunk, 0);
    if (n <= 0) {
      c.failed = true;
      epoll_ctl(epoll_, EPOLL_CTL_DEL, c.fd, nullptr);
      return;
    }
    c.in.append(chunk, static_cast<size_t>(n));
    if (!c.in_body && !ReadHead(c)) return;
    if (c.chunked) return ReadStream(c);
    if (c.in.size() < c.left) return;
    c.in.erase(0, c.left);
    Complete(c);
  }

  bool ReadHead(Connection& c) {
    const size_t end = c.in.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    std::string head = c.in.substr(0, end);
    for (char& letter : head) letter = static_cast<char>(std::tolower(letter));
    status_ = std::atoi(head.c_str() + 9);
    c.chunked = head.find("transfer-encoding: chunked") != std::string::npos;
    const size_t length = head.find("content-length: ");
    c.left =
        length == std::string::npos ? 0 : std::strtoul(head.c_str() + length + 16, nullptr, 10);
    c.in.erase(0, end + 4);
    c.in_body = true;
    c.tokens = 0;
    return true;
  }

  // Counts events that carry a piece of text; those of usage and roles do not.
  void ReadStream(Connection& c) {
    const bool over = c.in.ends_with("\r\n0\r\n\r\n") || c.in == "0\r\n\r\n";
    int fresh = 0;
    size_t at = 0, seen = 0;
    while ((at = c.in.find("\n\n", at)) != std::string::npos) {
      const std::string_view event(c.in.data() + seen, at - seen);
      fresh += event.find("\"text\":\"") != std::string_view::npos ||
               event.find("\"content\":\"") != std::string_view::npos;
      seen = at += 2;
    }
    c.in.erase(0, seen);
    c.tokens += fresh;
    if (fresh > 0 && on_tokens) on_tokens(c, NowUs(), fresh);
    if (over) Complete(c);
  }

  void Complete(Connection& c) {
    c.in_body = false;
    c.in.clear();
    ++c.answers;
    if (on_answer) on_answer(c, status_);
  }

  const std::string host_;
  const uint16_t port_;
  int epoll_ = -1;
  int status_ = 0;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace slipstream::testing
