// HTTP/1.1 over TCP: accepts, reads requests within size and time limits, writes answers, cuts off
// clients that neither read nor write. Boost.Beast and Asio stay behind this header. Owned by
// Server; Start and Stop from its thread, handlers run on the I/O threads. Start fails when the
// address cannot be bound or the certificate cannot be read. Source: RFC 9112.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "config/server_config.h"
#include "server/api_keys.h"
#include "server/http/router.h"
#include "server/server_metrics.h"

namespace slipstream {

class HttpListener {
 public:
  virtual ~HttpListener() = default;

  static Result<std::unique_ptr<HttpListener>> Start(const ServerConfig& config, Router router,
                                                     ServerMetrics& metrics,
                                                     std::shared_ptr<ApiKeys> keys);

  // Reads the certificate again for connections to come; without TLS nothing happens.
  virtual Status ReloadCertificate() = 0;
  // Key and chain in use; empty without TLS.
  virtual std::string certificate_pem() const = 0;

  virtual uint16_t port() const = 0;
  virtual int num_loops() const = 0;
  virtual EventLoop& loop(int index) = 0;
  // Connections are closed after the answer in hand; idle ones at once.
  virtual void BeginDrain() = 0;
  // True when no exchange is open and every answer has been written.
  virtual bool idle() const = 0;
  // Closes everything and joins the I/O threads.
  virtual void Stop() = 0;
};

}  // namespace slipstream
