// The bytes of a connection: a TCP socket, under TLS once Secure was called. Has what Asio and
// Beast ask of a stream, so that everything above reads and writes without knowing. Internal to
// http/; its shard's thread.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "server/http/shard.h"

namespace slipstream {

class Transport {
 public:
  using executor_type = IoExecutor;
  using Tls = asio::ssl::stream<TcpSocket&>;

  explicit Transport(TcpSocket socket) : socket_(std::move(socket)) {}
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  executor_type get_executor() { return socket_.get_executor(); }
  TcpSocket& tcp() { return socket_; }
  // Call once, before a byte was read; the handshake is the caller's.
  Tls& Secure(std::shared_ptr<asio::ssl::context> context) {
    context_ = std::move(context);
    return tls_.emplace(socket_, *context_);
  }
  Tls* tls() { return tls_ ? &*tls_ : nullptr; }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(boost::system::error_code, size_t)>(
        [this](auto handler, const Buffers& into) {
          if (tls_) {
            tls_->async_read_some(into, std::move(handler));
          } else {
            socket_.async_read_some(into, std::move(handler));
          }
        },
        token, buffers);
  }

  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(boost::system::error_code, size_t)>(
        [this](auto handler, const Buffers& from) {
          if (tls_) {
            tls_->async_write_some(from, std::move(handler));
          } else {
            socket_.async_write_some(from, std::move(handler));
          }
        },
        token, buffers);
  }

 private:
  TcpSocket socket_;
  std::shared_ptr<asio::ssl::context> context_;
  std::optional<Tls> tls_;
};

}  // namespace slipstream
