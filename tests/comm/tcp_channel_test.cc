#include "comm/tcp_channel.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <numeric>
#include <thread>

namespace slipstream {
namespace {

struct Pair {
  Pair() {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) std::abort();
    a = std::make_unique<TcpChannel>(fds[0]);
    b_fd = fds[1];
  }
  ~Pair() { close(b_fd); }
  std::unique_ptr<TcpChannel> a;
  int b_fd;
};

TEST(TcpChannel, CarriesMessagesOfEverySizeBothWays) {
  auto listener = TcpListener::Listen("127.0.0.1:0");
  ASSERT_TRUE(listener) << listener.error().message;
  std::thread echo([&] {
    auto peer = listener->Accept();
    ASSERT_TRUE(peer);
    std::vector<uint8_t> m;
    while (peer->Receive(&m)) ASSERT_TRUE(peer->Send(m));
  });
  {
    auto channel = TcpChannel::Connect(fmt::format("127.0.0.1:{}", listener->port()), 5);
    ASSERT_TRUE(channel) << channel.error().message;
    for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{3000000}}) {
      std::vector<uint8_t> out(size), in;
      std::iota(out.begin(), out.end(), 1);
      std::thread sender([&] { ASSERT_TRUE(channel->Send(out)); });
      ASSERT_TRUE(channel->Receive(&in));
      sender.join();
      EXPECT_EQ(in, out);
    }
  }
  echo.join();
}

TEST(TcpChannel, AForeignProtocolIsAnError) {
  Pair pair;
  ASSERT_EQ(write(pair.b_fd, "GET / HTTP/1.1\r\n", 16), 16);
  std::vector<uint8_t> m;
  const Status got = pair.a->Receive(&m);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kDataLoss);
}

TEST(TcpChannel, AHugeFrameIsRefusedBeforeMemoryIsTaken) {
  Pair pair;
  const uint32_t header[2] = {0x50494c53, 0xffffffff};
  ASSERT_EQ(write(pair.b_fd, header, sizeof header), 8);
  std::vector<uint8_t> m;
  EXPECT_FALSE(pair.a->Receive(&m));
  EXPECT_EQ(m.capacity(), 0u);
}

TEST(TcpChannel, ALostPeerIsUnavailable) {
  Pair pair;
  shutdown(pair.b_fd, SHUT_RDWR);
  std::vector<uint8_t> m;
  const Status got = pair.a->Receive(&m);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kUnavailable);
}

TEST(TcpChannel, BadAddressesAreNamed) {
  for (const char* bad : {"nohost", ":9000", "127.0.0.1:notaport", "127.0.0.1:", "127.0.0.1:65536",
                          "127.0.0.1:999999"}) {
    const auto got = TcpListener::Listen(bad);
    ASSERT_FALSE(got) << bad;
    EXPECT_NE(got.error().message.find(bad), std::string::npos);
  }
}

TEST(TcpListener, ShutdownEndsAccept) {
  auto listener = TcpListener::Listen("127.0.0.1:0");
  ASSERT_TRUE(listener);
  std::thread stopper([&] { listener->Shutdown(); });
  EXPECT_FALSE(listener->Accept());
  stopper.join();
}

}  // namespace
}  // namespace slipstream
