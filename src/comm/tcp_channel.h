// Framed messages over one TCP connection between ranks: a 4-byte magic, a 4-byte little-endian
// length, the bytes. Blocking; one thread sends and one receives at a time. A lost peer, a silent
// one past the timeout and a frame that is not ours are errors; nothing is retried, and a channel
// that gave an error is of no more use. A peer whose machine vanished is lost after 25 silent
// seconds (TCP keep-alive), also while nobody sends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace slipstream {

class TcpChannel {
 public:
  // "host:port"; tries for `timeout_seconds` so that ranks may start in any order.
  static Result<TcpChannel> Connect(const std::string& address, int timeout_seconds);
  explicit TcpChannel(int fd);
  TcpChannel(TcpChannel&& other) noexcept;
  TcpChannel& operator=(TcpChannel&& other) noexcept;
  ~TcpChannel();

  // How long Send and Receive wait for a peer that takes or gives no byte; 0, as at first: without
  // end.
  void SetTimeout(double seconds);

  Status Send(std::span<const uint8_t> message);
  // Replaces *message. Frames above kMaxFrameBytes are refused before memory is taken.
  Status Receive(std::vector<uint8_t>* message);
  // Looks without waiting whether the peer is still there. REQUIRES: no message is due, so bytes
  // that are there are an error too.
  Status CheckQuiet() const;
  // Ends a Receive that another thread waits in.
  void Shutdown();

  static constexpr size_t kMaxFrameBytes = size_t{256} << 20;

 private:
  int fd_ = -1;
  double timeout_seconds_ = 0;
};

class TcpListener {
 public:
  // "host:port"; port 0 picks a free one.
  static Result<TcpListener> Listen(const std::string& address);
  TcpListener(TcpListener&& other) noexcept;
  TcpListener& operator=(TcpListener&&) = delete;
  ~TcpListener();

  Result<TcpChannel> Accept();
  int port() const { return port_; }
  // Ends an Accept that another thread waits in.
  void Shutdown();

 private:
  TcpListener(int fd, int port) : fd_(fd), port_(port) {}
  int fd_;
  int port_;
};

}  // namespace slipstream
