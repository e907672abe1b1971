// The certificate that a listener shows: read from PEM files at start and again on demand. New
// connections take the newest one, those under way keep theirs. Internal to http/; any thread. Open
// and Reload fail with the file at fault, and an old certificate stays in use.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"

namespace slipstream {

class TlsCertificate {
 public:
  using Context = boost::asio::ssl::context;

  static Result<std::shared_ptr<TlsCertificate>> Open(std::string cert_path, std::string key_path);
  Status Reload();
  std::shared_ptr<Context> current() const;
  // Its key and chain as text, for gRPC.
  std::string pem() const;

 private:
  TlsCertificate(std::string cert_path, std::string key_path)
      : cert_path_(std::move(cert_path)), key_path_(std::move(key_path)) {}

  const std::string cert_path_, key_path_;
  mutable std::mutex mutex_;
  std::shared_ptr<Context> current_;
  std::string pem_;
};

}  // namespace slipstream
