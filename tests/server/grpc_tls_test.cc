// The certificate of gRPC, which is that of HTTP. Not in wire_test: the thread sanitizer, which
// that runs under, knows nothing of Debian's gRPC.
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/server/wire_tls_fixture.h"

namespace slipstream::testing {
namespace {

class GrpcTls : public WireTls {
 protected:
  GrpcTls() { config_.grpc_port = -1; }
};

TEST_F(GrpcTls, IsTheCertificateOfHttp) {
  StartServer();
  const auto serial = [&] {
    WireClient client(server_->grpc_port());
    return client.Secure() ? client.peer_serial() : -1;
  };
  EXPECT_EQ(serial(), 1);
  std::ofstream(config_.tls_cert) << "no certificate";
  EXPECT_FALSE(server_->Reload());
  for (int i = 0; i < 25; ++i) {  // gRPC looks every second
    ASSERT_EQ(serial(), 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ASSERT_TRUE(WriteCertificate(config_.tls_cert, config_.tls_key, 2));
  ASSERT_TRUE(server_->Reload());
  EXPECT_TRUE(Eventually([&] { return serial() == 2; }));
  std::filesystem::remove(config_.tls_key);
  ASSERT_EQ(mkfifo(config_.tls_key.c_str(), 0600), 0);
  const Status pipe = server_->Reload();
  ASSERT_FALSE(pipe);
  EXPECT_EQ(pipe.error().param, "tls_key");
}

}  // namespace
}  // namespace slipstream::testing
