// A server with a certificate of its own, serial number 1, in files that a test may replace.
#pragma once

#include <filesystem>
#include <memory>

#include "tests/server/test_certificate.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {

class WireTls : public Wire {
 protected:
  WireTls() {
    config_.tls_cert = TempPath("cert.pem");
    config_.tls_key = TempPath("key.pem");
    EXPECT_TRUE(WriteCertificate(config_.tls_cert, config_.tls_key, 1));
  }
  ~WireTls() override {
    StopServer();
    std::filesystem::remove(config_.tls_cert);
    std::filesystem::remove(config_.tls_key);
  }

  std::unique_ptr<WireClient> Connect() {
    auto client = std::make_unique<WireClient>(port());
    EXPECT_TRUE(client->Secure());
    return client;
  }
};

}  // namespace slipstream::testing
